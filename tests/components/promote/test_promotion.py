"""A candidate and the champion on the same test faces, against a real MLflow server."""

import json
import shlex
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from green_faces import green_photo, write_detector, write_photos
from kfp import dsl
from promoting import GOOD, STATES, Registered, champion, spoiled, write_faces
from register_models import write_model
from relay import relayed

from components.predict.predict import predict
from components.promote import faces as faces_module
from components.promote.component import promote as door
from components.promote.promote import promote
from components.register.register import register
from components.shared.dataset.annotations import Face, read_annotations, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.shared.prediction.classify import classify
from components.shared.tracking.server import mlflow_client
from serving.runtime.errors import InputError, NoAnswerError, NotFoundError


def test_a_better_model_is_promoted_a_worse_one_and_a_tie_are_not(tracking: str, faces: Path, tmp_path: Path) -> None:
    bad, good, worse, twin = (
        Registered(faces, tmp_path / folder, "ranks", weights)
        for folder, weights in (("0", spoiled(0.3)), ("1", GOOD), ("2", spoiled(0.2)), ("3", 2 * GOOD))
    )
    first = bad.promote()
    assert first.promoted and first.reason == "Promoted: 'ranks' had no champion yet." and champion("ranks") == "1"
    better = good.promote()
    assert better.promoted and champion("ranks") == "2", better.reason
    assert better.compared is not None and better.compared.paired.first == 1 and better.compared.paired.groups == 12
    assert better.reason.startswith(
        "Promoted: version 2 is better than the champion, version 1: macro F1 1.0000 against"
    )
    assert better.metrics()["macro_f1"] == 1 and better.metrics()["only_champion_right"] == 0
    lower = worse.promote()
    assert not lower.promoted and "version 3 is worse than the champion, version 2" in lower.reason
    tie = twin.promote()
    assert not tie.promoted and tie.reason.endswith(
        "it answers as the champion, version 2, does; a tie keeps the champion."
    )
    assert champion("ranks") == "2"
    again = good.promote()
    assert again.promoted and again.reason == "Version 2 of 'ranks' is the champion already."
    for one in (bad, good, worse, twin):
        page = (one.folder / "report.html").read_text()
        assert "Promotion of ranks" in page and len(page) < 100_000
    history = json.loads(mlflow_client().get_registered_model("ranks").tags["facet.promotions"])
    assert [(one["version"], one["previous"]) for one in history] == [("1", ""), ("2", "1")]


def test_a_small_difference_is_not_enough(tracking: str, faces: Path, tmp_path: Path) -> None:
    """Two more faces of sixty: higher, but in too few of the draws."""
    common, candidate = (
        Registered(faces, tmp_path / folder, "narrow", weights)
        for folder, weights in (("0", spoiled(0.12)), ("1", GOOD))
    )
    common.promote()
    outcome = candidate.promote()
    assert outcome.compared is not None
    assert outcome.compared.paired.first > outcome.compared.paired.second and outcome.compared.paired.better < 0.95
    assert not outcome.promoted and "is not shown to be better" in outcome.reason and champion("narrow") == "1"


def test_few_persons_show_nothing(tracking: str, tmp_path: Path) -> None:
    """All of two persons are in favor of the candidate, in every draw."""
    faces = write_faces(tmp_path, persons=2)
    common, candidate = (
        Registered(faces, tmp_path / folder, "few", weights) for folder, weights in (("0", spoiled(0.9)), ("1", GOOD))
    )
    common.promote()
    outcome = candidate.promote()
    assert outcome.compared is not None and outcome.compared.paired.better == 1
    assert not outcome.promoted and champion("few") == "1"
    assert "version 2 cannot be shown to be better than the champion, version 1: macro F1 1.0000" in outcome.reason
    assert "of 2 persons. At least 5 are needed" in outcome.reason
    assert "too few persons for an interval" in (candidate.folder / "report.html").read_text()
    assert candidate.promote(confidence=0.7).promoted, "two of two are sure enough for 70 %"


def test_missed_floors_keep_the_champion(tracking: str, faces: Path, tmp_path: Path) -> None:
    one = Registered(faces, tmp_path / "0", "floors", GOOD)
    outcome = one.promote(floors_hold=False)
    assert not outcome.promoted and champion("floors") == ""
    assert outcome.reason == "Not promoted: the floors do not hold; there is no champion yet."


def test_what_cannot_be_compared_keeps_the_champion(tracking: str, faces: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "other", label_space="hat:cap,hood,none")
    register(model, name="mixed")
    mlflow_client().set_registered_model_alias("mixed", "champion", "1")
    candidate = Registered(faces, tmp_path / "1", "mixed", GOOD)
    outcome = candidate.promote()
    assert not outcome.promoted and champion("mixed") == "1"
    assert "the labels of the candidate are worn, incorrect, absent (3), those of the champion cap" in outcome.reason
    assert outcome.reason.endswith("To promote it without a comparison: facet promote mixed 2")
    detector = register(write_detector(tmp_path / "detector"), name="mixed").version
    mlflow_client().set_registered_model_alias("mixed", "champion", detector)
    assert "they are for different tasks" in candidate.promote().reason


def test_other_training_data_and_leaks_are_said(tracking: str, faces: Path, tmp_path: Path) -> None:
    Registered(faces, tmp_path / "0", "data", spoiled(0.3), dataset_digest="9" * 64).promote()
    outcome = Registered(faces, tmp_path / "1", "data", GOOD, leaks=True).promote()
    assert outcome.promoted
    assert [note.split(":")[0] for note in outcome.notes[:1]] == [
        "The champion was trained on other annotations (999999999999) than the candidate (dddddddddddd)"
    ]
    assert outcome.notes[1].startswith("The candidate was trained on a split with persons on both sides")


def test_another_model_or_other_pictures_are_refused(tracking: str, faces: Path, tmp_path: Path) -> None:
    one, other = (Registered(faces, tmp_path / str(n), "strict", (1 + n) * GOOD) for n in range(2))
    with pytest.raises(InputError, match="'strict' version 2 has sha256 .*, the model .*: pass the version"):
        one.promote(version=other.version)
    (one.folder / "p.csv").write_bytes((other.folder / "p.csv").read_bytes())
    with pytest.raises(InputError, match="the predictions are of model 'tiny' .*, not of 'tiny' with sha256"):
        one.promote()
    with pytest.raises(NotFoundError, match="no version '9' of model 'strict'"):
        other.promote(version="9")
    for confidence in (0.5, 1.1, float("nan")):
        with pytest.raises(InputError, match="confidence must be above 0.5 and at most 1"):
            other.promote(confidence=confidence)
    other.promote()
    candidate = Registered(faces, tmp_path / "2", "strict", 3 * GOOD)
    data = read_annotations(faces / "a.json")
    moved = replace(data, images=tuple(replace(image, sha256="0" * 64) for image in data.images))
    write_annotations(moved, tmp_path / "moved.json")
    with pytest.raises(InputError, match="60 of 60 predicted faces are others .* is another picture"):
        promote(candidate.model, candidate.folder / "p.csv", faces / "images", tmp_path / "moved.json",
                tmp_path / "r.html", name="strict", version="3")  # fmt: skip
    write_annotations(replace(data, info=DatasetInfo(images_digest="0" * 64)), tmp_path / "moved.json")
    with pytest.raises(InputError, match="the predictions are of data set .*, the annotations of 000000000000"):
        promote(candidate.model, candidate.folder / "p.csv", faces / "images", tmp_path / "moved.json",
                tmp_path / "r.html", name="strict", version="3")  # fmt: skip
    assert champion("strict") == "2"


def test_detectors_are_compared_by_photo(tracking: str, tmp_path: Path) -> None:
    """A champion that finds every second face only, and one that finds all."""
    boxes = [(20, 20, 40, 50), (100, 30, 60, 60), (200, 100, 50, 70)]
    photos = {f"{n}.png": green_photo(boxes[: 1 + n % 3], [250, 200, 150][: 1 + n % 3]) for n in range(30)}
    known = {
        name: [Face(10 * n + k + 1, tuple(map(float, box)), {}) for k, box in enumerate(boxes[: 1 + n % 3])]  # type: ignore[arg-type]
        for n, name in enumerate(photos)
    }
    write_photos(tmp_path, photos, known)
    versions = []
    for number, most in enumerate((1, 100)):
        thresholds = {"score": 0.3, "nms_iou": 0.5, "max_detections": most}
        model = write_detector(tmp_path / str(number), thresholds=thresholds)
        predict(model, tmp_path / "images", tmp_path / "a.json", tmp_path / f"{number}.csv")
        versions.append(register(model, name="finders").version)
    outcomes = [
        promote(
            tmp_path / str(n),
            tmp_path / f"{n}.csv",
            tmp_path / "images",
            tmp_path / "a.json",
            tmp_path / "r.html",
            name="finders",
            version=versions[n],
        )
        for n in (0, 1, 0)
    ]
    assert [one.promoted for one in outcomes] == [True, True, False] and champion("finders") == "2"
    better = outcomes[1].compared
    assert better is not None and better.metric == "map50" and better.paired.first == pytest.approx(1)
    assert (better.unit, better.paired.groups, better.faces) == ("photo", 30, 60)
    assert better.right == (60, 30) and better.mcnemar.only_first == 30
    assert "is worse than" in outcomes[2].reason


def test_a_worse_detector_keeps_everything(tracking: str, tmp_path: Path) -> None:
    """Green faces, which a classifier is right about; its detector finds one in each photo, the champion finds all."""
    boxes = [(20, 20, 40, 50), (100, 30, 60, 60)]
    photos = {f"{n}.png": green_photo(boxes, [250, 200]) for n in range(20)}
    known = {
        name: [Face(10 * n + k, tuple(map(float, box)), {"mask": STATES[1]}) for k, box in enumerate(boxes)]  # type: ignore[arg-type]
        for n, name in enumerate(photos, 1)
    }
    write_photos(tmp_path, photos, known)
    wrong, right = (
        Registered(tmp_path, tmp_path / folder, "heads", weights)
        for folder, weights in (("wrong", GOOD[[1, 0, 2]]), ("right", GOOD))
    )
    detectors = {}
    for number, most in (("1", 100), ("2", 1)):
        thresholds = {"score": 0.3, "nms_iou": 0.5, "max_detections": most}
        model = write_detector(tmp_path / number, thresholds=thresholds)
        predict(model, tmp_path / "images", tmp_path / "a.json", tmp_path / f"{number}.csv")
        detectors[number] = {
            "detector": "eyes", "detector_version": register(model, name="eyes").version, "detector_model": model,
            "detector_predictions": tmp_path / f"{number}.csv", "detector_annotations": tmp_path / "a.json",
        }  # fmt: skip
    assert wrong.promote(**detectors["1"]).promoted and (champion("heads"), champion("eyes")) == ("1", "1")
    outcome = right.promote(**detectors["2"])
    assert not outcome.promoted and (champion("heads"), champion("eyes")) == ("1", "1")
    assert outcome.compared is not None and outcome.compared.paired.better == 1, "the classifier alone is better"
    assert outcome.reason.startswith(
        "Not promoted: the detector, 'eyes' version 2, is worse than its champion, version 1, and all stay as they are:"
    )
    assert any("the champion's classifier is judged on these boxes" in note for note in outcome.notes)
    assert outcome.metrics()["detector_map50"] < outcome.metrics()["detector_champion_map50"] == pytest.approx(1)
    assert "The detector" in (right.folder / "report.html").read_text()
    with pytest.raises(InputError, match="the predictions are of model"):
        right.promote(**detectors["2"] | {"detector_predictions": detectors["1"]["detector_predictions"]})
    assert right.promote(**detectors["1"]).promoted and (champion("heads"), champion("eyes")) == ("2", "1")
    mlflow_client().set_registered_model_alias("eyes", "champion", "2")
    mlflow_client().set_registered_model_alias("heads", "champion", "1")
    assert right.promote(**detectors["1"]).promoted and (champion("heads"), champion("eyes")) == ("2", "1")


def test_the_component_and_equal_bytes(tracking: str, faces: Path, tmp_path: Path) -> None:
    Registered(faces, tmp_path / "0", "doors", spoiled(0.3)).promote()
    one = Registered(faces, tmp_path / "1", "doors", GOOD)
    pages = []
    for turn, alias in enumerate(("champion", "try-1")):
        metrics, page = dsl.Metrics(uri=""), dsl.HTML(uri=str(tmp_path / f"{turn}.html"))
        promoted, reason = door.python_func(
            model=dsl.Model(uri=str(one.model)), predictions=dsl.Dataset(uri=str(one.folder / "p.csv")),
            images=dsl.Dataset(uri=str(faces / "images")), annotations=dsl.Dataset(uri=str(faces / "a.json")),
            report=page, metrics=metrics, name="doors", version=one.version, alias=alias,
        )  # fmt: skip
        assert promoted is True and reason.startswith("Promoted: ")
        assert all(np.isfinite(value) for value in metrics.metadata.values())
        mlflow_client().set_registered_model_alias("doors", "try-1", "1")
        pages.append(Path(page.path).read_text().replace("try-1", "champion"))
    assert pages[0] == pages[1]


def test_a_server_that_dies_in_the_middle_names_the_commands_for_later(
    tracking: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "1")
    Registered(faces, tmp_path / "0", "later", spoiled(0.3)).promote()
    one = Registered(faces, tmp_path / "a folder", "later", GOOD)
    with ExitStack() as stack, monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", stack.enter_context(relayed(tracking)))

        def classify_and_die(*arguments: Any, **options: Any) -> Any:
            answer = classify(*arguments, **options)
            stack.close()
            return answer

        patch.setattr(faces_module, "classify", classify_and_die)
        with pytest.raises(NoAnswerError, match="did not answer within 1 s") as caught:
            one.promote()
    assert champion("later") == "1"
    *_, kept, command, _, by_hand = str(caught.value).splitlines()
    assert kept == "Version 2 of 'later' is registered and nothing of it is lost. Compare and promote it later with:"
    assert by_hand == "facet promote later 2"
    program, step, name, *options = shlex.split(command)
    assert (program, step, name) == ("facet", "step", "promote")
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert given["--model"] == str(one.model) and given["--version"] == "2"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(NoAnswerError) as caught:
        one.promote(address="s3://pipelines/run/model")
    assert "from copies of the artifacts in a FOLDER of yours:\nfacet step promote --model FOLDER" in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    assert one.promote().promoted and champion("later") == "2"


def test_a_broken_champion_stays(tracking: str, s3: Any, faces: Path, tmp_path: Path) -> None:
    """Its file is gone from the store: the candidate waits for somebody's decision."""
    Registered(faces, tmp_path / "0", "gone", spoiled(0.3)).promote()
    client = mlflow_client()
    client.create_model_version("gone", "s3://nowhere/gone")
    client.set_registered_model_alias("gone", "champion", "2")
    outcome = Registered(faces, tmp_path / "1", "gone", GOOD).promote()
    assert not outcome.promoted and champion("gone") == "2"
    assert "cannot be compared with the champion, version 2, which stays: it cannot be loaded" in outcome.reason


def test_the_sample_has_one_class_for_each_color(tmp_path: Path) -> None:
    data = read_annotations(write_faces(tmp_path) / "a.json")
    assert {face.attributes["mask"] for image in data.images for face in image.faces} == {"worn", "incorrect", "absent"}
