"""The whole chain of the emotion pipeline with ultralytics: drawn AI Hub data to a model that answers a raw photo."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_sample import put_small_sample

from components.shared.chain_file import read_chain
from components.shared.dataset.annotations import digest, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.tracking.server import mlflow_client
from pipelines.catalog import (
    CALIBRATION_REPORT,
    DATA_REPORT,
    DETECTOR_REPORT,
    FACES_REPORT,
    PROMOTION_REPORT,
    REPORT,
)
from pipelines.command.config import resolve
from pipelines.emotion import EmotionYoloConfig
from pipelines.environment.settings import Settings
from pipelines.local import summary
from pipelines.local.run import Run, run
from pipelines.local.run_folder import outputs
from pipelines.local.stack import local_stack, mlflow_address
from pipelines.parameters.pipeline import DRAWN_EMOTIONS
from serving.runtime.composite import Composite
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model

pytestmark = pytest.mark.slow

CONFIG = EmotionYoloConfig(
    source=DRAWN_EMOTIONS,
    format="aihub",
    detector={"imgsz": 96, "epochs": 12, "batch": 4, "conf": 0.1},
    detector_name="finder",
    detector_floors={"map50": 0.1},
    image_height=32,
    image_width=32,
    epochs=1,
    batch_size=8,
    faces={"fallback": "whole_image"},
    model_name="moods",
    composite="photos",
    floors={"accuracy": 0.0},
)


@pytest.fixture(scope="module")
def result(home: Path) -> Iterator[Run]:
    home.mkdir()
    put_small_sample(home, DRAWN_EMOTIONS, persons=16)
    yield run(CONFIG, Settings.from_environment({"FACET_HOME": str(home)}), name="moods", echo=print)


def test_detector_and_classifier_are_trained_on_one_split(result: Run) -> None:
    assert (result.failed, result.error) == ("", "")
    steps = list(result.seconds)
    for earlier, later in (("split", "train-yolo"), ("train-yolo", "adopt-detectors"), ("crop-faces", "train-yolo-2")):
        assert steps.index(earlier) < steps.index(later)
    split = read_annotations(result.folder / "split/split_annotations")
    chosen = read_annotations(result.folder / "choose-faces/detected_annotations")
    assert {image.file_name: image.split for image in chosen.images} == {i.file_name: i.split for i in split.images}
    persons = {name: {image.person for image in split.images if image.split == name} for name in ("train", "test")}
    assert persons["train"] and persons["test"] and not persons["train"] & persons["test"]
    assert {path.name for path in result.folder.glob("*.html")} == {
        *(REPORT, DETECTOR_REPORT, DATA_REPORT, FACES_REPORT, CALIBRATION_REPORT, PROMOTION_REPORT)
    }


def test_the_trained_detector_found_the_faces(result: Run) -> None:
    (member,) = read_chain(result.folder / "adopt-detectors/detectors").members
    assert (member.kind, member.name) == ("onnx", "finder")
    assert member.sha256 == digest(result.folder / "train-yolo/exported/model.onnx")
    chosen = read_annotations(result.folder / "choose-faces/detected_annotations")
    methods = [image.detection.method for image in chosen.images if image.detection]
    assert methods.count("finder") > len(methods) / 2


def test_the_composite_names_the_registered_versions_and_answers_a_photo(home: Path, result: Run) -> None:
    with local_stack(home) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        mlflow_address(home, stack)  # waits until it is up
        served = load_model("models:/photos@champion")
        assert isinstance(served, Composite)
        assert (served.card.members, served.version) == (("models:/finder/1", "models:/moods/1"), "1")
        for name in ("finder", "moods"):
            assert load_model(f"models:/{name}@champion").version == load_model(f"models:/{name}@candidate").version
        assert load_model("models:/finder/1").sha256 == digest(result.folder / "train-yolo/exported/model.onnx")
        archive = ImageArchive(result.folder / "ingest/images")
        chosen = read_annotations(result.folder / "choose-faces/detected_annotations")
        image = next(one for one in chosen.images if one.detection and one.detection.method == "finder")
        (answer,) = served.predict([(Photo(archive.read(image.file_name)), ())])
        assert answer and all(face.box and set(face.heads) == {"emotion"} for face in answer)


def test_both_trainings_are_told_apart_in_mlflow(home: Path, result: Run) -> None:
    pages = result.mlflow_run, result.detector_run
    assert all(any(page in line for line in summary.success(result, CONFIG)) for page in pages)
    with local_stack(home) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        mlflow_address(home, stack)  # waits until it is up
        client = mlflow_client()
        tracked = [client.get_run(page.rpartition("/")[2]) for page in pages]
    assert [one.info.run_name for one in tracked] == ["yolo11n-cls emotion", "detector yolo11n face"]
    for one in tracked:
        assert {"facet.run": "moods", "facet.artifacts": "s3://pipelines/moods"}.items() <= one.data.tags.items()


def test_the_summary_shows_both_models(result: Run) -> None:
    lines = list(summary.success(result, CONFIG))
    assert lines[0] == "finder" and "moods" in lines
    assert any(re.fullmatch(r"  false_positives +\d+\.\d{4} per photo", line) for line in lines)
    assert any(line.split()[0] == "map50" and line.endswith("floor 0.100") for line in lines if line.split())
    for line in (
        "detector       finder, version 1 (candidate and champion)",
        "model          moods, version 1 (candidate and champion)",
        "with detector  photos, version 1 (candidate and champion)",
        f"report         {result.folder / REPORT}",
        f"detector       {result.folder / DETECTOR_REPORT}",
        "next: make serve MODEL=models:/photos@champion",
    ):
        assert line in lines
    assert resolve(str(result.folder / "config.yaml"), (), {}) == CONFIG
    metrics = json.loads(outputs(result.folder, "evaluate")["metrics_json"])
    assert 0.1 <= metrics["map50"] <= 1
