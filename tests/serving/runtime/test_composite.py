"""Composites: a detector and classifiers as one model, from a folder, S3 and MLflow's registry."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow_registry import MlflowServer
from PIL import Image
from tiny_detector import build_detector, draw_faces
from tiny_model import build_model, card_facts

from serving.runtime.composite import Composite
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.image.decode import stored_pixels
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model, open_model
from serving.runtime.predictor import Classifier, FaceResult
from serving.runtime.storage import make_bucket, upload
from serving.runtime.work import AbandonedError, Work

HAT = [{"name": "hat", "labels": ["cap", "none"]}]
BOXES = [(20, 20, 60, 60), (120, 30, 90, 80), (30, 130, 40, 50)]
LEVELS = [200, 255, 230]


def hats(**changes: Any) -> bytes:
    return build_model(card_facts(name="hats", label_space="hat:cap,none", heads=HAT, **changes))


def encoded(pixels: np.ndarray, kind: str = "PNG", orientation: int = 1) -> bytes:
    """An image file whose upright pixels are these."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if orientation == 6:
        image = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(buffer, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    return buffer.getvalue()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes a composite of a detector and two classifiers into a folder, the classifiers changed or not."""

    def write(hat: bytes | None = None, **changes: Any) -> Path:
        folder = tmp_path / "composite"
        (folder / "heads" / "mask").mkdir(parents=True, exist_ok=True)
        (folder / "green.onnx").write_bytes(build_detector(side=(320, 320)))
        (folder / "heads" / "mask" / "model.onnx").write_bytes(build_model())
        (folder / "heads" / "hat.onnx").write_bytes(hat or hats())
        card = {"name": "people", "detectors": ["green.onnx"], "heads": ["heads/mask", "heads/hat.onnx"]} | changes
        (folder / "composite.json").write_text(json.dumps(card))
        return folder

    return write


def opened(folder: Path) -> Composite:
    model = load_model(str(folder))
    assert isinstance(model, Composite)
    return model


def by_hand(model: Composite, photos: Sequence[bytes]) -> list[list[FaceResult]]:
    """What the detector finds, classified by each classifier with those boxes and points."""
    detector, *classifiers = model.members
    answers = []
    for data in photos:
        faces = detector.predict([(Photo(data), [])])[0]
        boxes, points = [face.box for face in faces if face.box], [face.keypoints for face in faces]
        seen = []
        for one in classifiers:
            assert isinstance(one, Classifier)
            seen.append(one.predict([(Photo(data), boxes)], keypoints=[points])[0] if boxes else [])
        answers.append(
            [
                replace(
                    face,
                    heads=mask.heads | hat.heads,
                    notice=mask.notice,
                    brightness={**mask.brightness, **hat.brightness},
                )
                for face, mask, hat in zip(faces, *seen, strict=True)
            ]
        )
    return answers


MANY = [(10 + 30 * column, 10 + 30 * row, 20, 20) for row in range(10) for column in range(10)]
PHOTOS = {
    "PNG": (encoded(draw_faces((240, 320), BOXES, LEVELS)), 3),
    "JPEG": (encoded(draw_faces((240, 320), BOXES, LEVELS), "JPEG"), 3),
    "rotated PNG": (encoded(draw_faces((240, 320), BOXES, LEVELS), "PNG", 6), 3),
    "rotated JPEG": (encoded(draw_faces((240, 320), BOXES, LEVELS), "JPEG", 6), 3),
    "no face": (encoded(draw_faces((240, 320), []), "JPEG"), 0),
    "black": (encoded(np.zeros((240, 320, 3), np.uint8), "JPEG"), 0),
    "100 faces": (encoded(draw_faces((320, 320), MANY)), 100),
    "at the border": (encoded(draw_faces((240, 320), [(280, 200, 40, 40), (0, 0, 30, 30)])), 2),
    "larger than the input": (encoded(draw_faces((1200, 1600), [(400, 400, 200, 200)]), "JPEG"), 1),
}


@pytest.mark.parametrize("kind", PHOTOS)
def test_every_face_is_what_detector_and_classifiers_say_of_it(make: Callable[..., Path], kind: str) -> None:
    model, (data, count) = opened(make()), PHOTOS[kind]
    (faces,) = model.predict([(Photo(data), [])])
    assert faces == by_hand(model, [data])[0]
    assert len(faces) == count
    for face in faces:
        assert list(face.heads) == ["mask", "gender", "hat"] and len(face.keypoints) == 5 and face.crop == "detector"


def test_a_turned_photo_and_a_jpeg_have_the_same_faces(make: Callable[..., Path]) -> None:
    model = opened(make())
    kinds = ("PNG", "JPEG", "rotated PNG", "rotated JPEG")
    upright, *others = model.predict([(Photo(PHOTOS[kind][0]), []) for kind in kinds])
    assert [face.box for face in upright] == [BOXES[1], BOXES[2], BOXES[0]], "by falling score"
    for faces in others:
        for face, expected in zip(faces, upright, strict=True):
            np.testing.assert_allclose(face.box, expected.box, atol=2)
            for head, probabilities in expected.heads.items():
                np.testing.assert_allclose(
                    list(face.heads[head].values()), list(probabilities.values()), atol=0.1, err_msg=head
                )


def test_photos_with_and_without_boxes_in_one_call(make: Callable[..., Path]) -> None:
    model = opened(make())
    data, box = PHOTOS["PNG"][0], (25.0, 30.0, 50.0, 40.0)
    given, found, none, again = model.predict(
        [(Photo(data), [box]), (Photo(data), []), (Photo(PHOTOS["black"][0]), []), (Photo(data), [])]
    )
    (face,) = given
    _, mask, hat = model.members
    heads = mask.predict([(Photo(data), [box])])[0][0].heads | hat.predict([(Photo(data), [box])])[0][0].heads
    assert (face.box, face.score, face.crop, face.keypoints, list(face.heads)) == (box, None, "box", {}, list(heads))
    for name, probabilities in heads.items():
        np.testing.assert_allclose(list(face.heads[name].values()), list(probabilities.values()), atol=1e-6)
    assert len(found) == len(again) == 3 and none == [] and model.predict([]) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"faces": "largest"}, [1]),
        ({"faces": "score"}, [1]),
        ({"faces": "largest", "max_faces": 2}, [1]),
        ({"max_faces": 2}, [1, 2]),
        ({"detectors": [{"uri": "green.onnx", "score": 0.85}]}, [1, 2]),
        ({"detectors": [{"uri": "green.onnx", "score": 0.99}, "green.onnx"]}, [1]),
    ],
)
def test_which_faces_are_answered(make: Callable[..., Path], changes: dict[str, Any], expected: list[int]) -> None:
    (faces,) = opened(make(**changes)).predict([(Photo(PHOTOS["PNG"][0]), [])])
    assert [face.box for face in faces] == [BOXES[number] for number in expected]


def test_the_largest_face_and_that_of_the_highest_score_may_differ(make: Callable[..., Path]) -> None:
    data = encoded(draw_faces((240, 320), BOXES, [255, 200, 230]))
    for rule, number in (("score", 0), ("largest", 1)):
        ((face,),) = opened(make(faces=rule)).predict([(Photo(data), [])])
        assert face.box == BOXES[number]


def test_a_later_detector_sees_what_the_earlier_ones_found_nothing_in(make: Callable[..., Path]) -> None:
    detectors = [{"uri": "green.onnx", "score": 0.99}, {"uri": "green.onnx", "score": 0.5}]
    model = opened(make(detectors=detectors))
    dark = encoded(draw_faces((240, 320), BOXES, [200, 210, 220]))
    bright, rescued, none = model.predict(
        [(Photo(PHOTOS["PNG"][0]), []), (Photo(dark), []), (Photo(PHOTOS["black"][0]), [])]
    )
    assert (len(bright), len(rescued), len(none)) == (1, 3, 0)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (None, ["tiny"]),
        ({}, ["dim"]),
        ({"min_side": 8}, ["tiny"]),
        ({"min_side": 8, "min_share": 0.002}, ["dim"]),
        ({"min_side": 8, "min_share": 0.06}, []),
        ({"max_share": 0.05}, []),
    ],
)
def test_a_later_detector_sees_what_the_earlier_ones_found_nothing_plausible_in(
    make: Callable[..., Path], limits: dict[str, float] | None, expected: list[str]
) -> None:
    boxes = {"tiny": (250, 10, 8, 8), "dim": (20, 40, 60, 70)}
    changes = {} if limits is None else {"limits": limits}
    model = opened(make(detectors=[{"uri": "green.onnx", "score": score} for score in (0.9, 0.5)], **changes))
    (faces,) = model.predict([(Photo(encoded(draw_faces((240, 320), list(boxes.values()), [255, 180]))), [])])
    assert [face.box for face in faces] == [boxes[name] for name in expected]


def test_small_faces_of_large_photos_are_found_in_tiles(make: Callable[..., Path]) -> None:
    data = encoded(draw_faces((1280, 1280), [(601, 603, 3, 3)]))
    for tile, count in ((None, 0), (320, 1)):
        detectors = [{"uri": "green.onnx", "tile": tile, "score": 0.9}]
        assert len(opened(make(detectors=detectors)).predict([(Photo(data), [])])[0]) == count


@pytest.mark.parametrize(
    ("frames", "crop"), [((None, [0, 0, 1, 0.5]), "detector"), (([0, 0, 1, 1], [0, 0, 1, 1]), "whole image")]
)
def test_the_crop_is_a_frame_where_no_classifier_sees_the_face(
    make: Callable[..., Path], frames: tuple[Any, Any], crop: str
) -> None:
    folder = make(hats(crop={"frame": frames[1]}))
    facts = card_facts(crop={"frame": frames[0]} if frames[0] else {})
    (folder / "heads" / "mask" / "model.onnx").write_bytes(build_model(facts))
    (faces,) = opened(folder).predict([(Photo(PHOTOS["PNG"][0]), [])])
    assert {face.crop for face in faces} == {crop}


def test_a_classifier_that_aligns_faces_gets_the_eyes_that_were_found(make: Callable[..., Path]) -> None:
    eyes = {"eyes": [[0.3, 0.4], [0.7, 0.4]]}
    folder = make(hats(crop=eyes))
    data = PHOTOS["PNG"][0]
    (mixed,) = opened(folder).predict([(Photo(data), [])])
    (folder / "heads" / "mask" / "model.onnx").write_bytes(build_model(card_facts(crop=eyes)))
    model = opened(folder)
    aligned, given = model.predict([(Photo(data), []), (Photo(data), [(20.0, 20.0, 60.0, 60.0)])])
    assert [{face.crop for face in faces} for faces in (mixed, aligned, given)] == [{"detector"}, {"eyes"}, {"box"}]
    assert [face.heads for face in aligned] == [face.heads for face in by_hand(model, [data])[0]]
    by_box = model.members[1].predict([(Photo(data), [face.box for face in aligned if face.box])])[0]
    assert by_box[0].heads["mask"] != aligned[0].heads["mask"]


def test_labels_of_a_detector_are_a_head(make: Callable[..., Path]) -> None:
    folder = make()
    (folder / "green.onnx").write_bytes(build_detector(side=(320, 320), labels=["face", "mask"]))
    model = opened(folder)
    (faces,) = model.predict([(Photo(PHOTOS["PNG"][0]), [])])
    assert list(faces[0].heads) == [head.name for head in model.heads] == ["label", "mask", "gender", "hat"]


def test_name_version_and_digest_follow_the_file_and_the_members(make: Callable[..., Path]) -> None:
    folder = make()
    first = opened(folder)
    assert (first.name, first.version, len(first.sha256)) == ("people", first.sha256[:12], 64)
    assert [member.name for member in first.members] == ["green", "tiny", "hats"]
    for uri in (f"{folder}/", f"{folder}/composite.json", f"file://{folder}"):
        assert load_model(uri).sha256 == first.sha256
    assert load_model(str(folder), name="mine").name == "mine"
    digests = {first.sha256, opened(make(max_faces=5)).sha256, opened(make(hats(training_digest="2" * 64))).sha256}
    assert len(digests) == 3


def test_it_has_no_graph_and_stops_when_nobody_waits(make: Callable[..., Path]) -> None:
    model, work = opened(make()), Work(abandoned=True)
    with pytest.raises(InputError, match="'people' is a composite, which has no graph"):
        model.infer([PHOTOS["PNG"][0]])
    with pytest.raises(AbandonedError):
        model.predict([(Photo(PHOTOS["PNG"][0]), [])], work=work)


@pytest.mark.parametrize(("kind", "eighths"), [("PNG", [8]), ("JPEG", [8, 4]), ("black", [8])])
def test_a_photo_is_decoded_once_for_all_members_that_read_it_at_one_scale(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, kind: str, eighths: list[int]
) -> None:
    model = opened(make())
    decoded: list[int] = []

    def count(data: bytes, *rest: Any) -> Any:
        decoded.append(rest[1])
        return stored_pixels(data, *rest)

    monkeypatch.setattr("serving.runtime.image.photo.stored_pixels", count)
    model.predict([(Photo(PHOTOS[kind][0]), [])])
    assert decoded == eighths


# --- what cannot be used -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"heads": ["heads/mask", "heads/mask/model.onnx"]}, "both heads/mask and heads/mask/model.onnx have a head"),
        ({"detectors": ["heads/mask"]}, "member heads/mask is a model of task 'classification'; expected a detector"),
        ({"heads": ["green.onnx"]}, "member green.onnx is a model of task 'detection'; expected a classifier"),
        ({"heads": ["composite.json"]}, "member composite.json is a composite itself"),
        ({"heads": ["note.onnx"]}, "member note.onnx: not an ONNX model"),
        ({"heads": []}, "heads: Tuple should have at least 1 item"),
        ({"detectors": []}, "detectors: Tuple should have at least 1 item"),
        ({"head": ["heads/mask"]}, "head: Extra inputs"),
        ({"faces": "best"}, "faces: Input should be 'all', 'largest' or 'score'"),
        ({"max_faces": 0}, "max_faces"),
        ({"card_version": 2}, "card_version"),
        ({"task": "detection"}, "task"),
        ({"heads": ["models:/a/b/c"]}, "member models:/a/b/c: 'models:/a/b/c' is not a model"),
        *(
            ({"heads": [uri]}, "is not a member; expected models:/name/version")
            for uri in ("../x.onnx", "a/../../x.onnx", "/etc/passwd", "./x", "", "a//b", "file:///x", "http://x/y")
        ),
    ],
)
def test_an_unusable_composite_names_itself_and_the_member(
    make: Callable[..., Path], changes: dict[str, Any], expected: str
) -> None:
    folder = make(**changes)
    (folder / "note.onnx").write_text("no model")
    with pytest.raises(InputError, match=expected) as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "no json", '"people"', "{}"])
def test_a_file_that_is_none(make: Callable[..., Path], text: str) -> None:
    folder = make()
    (folder / "composite.json").write_text(text)
    with pytest.raises(InputError, match=f"{folder}: not "):
        load_model(str(folder))


def test_missing_members(make: Callable[..., Path]) -> None:
    for uri in ("gone.onnx", "gone"):
        folder = make(heads=[uri])
        with pytest.raises(StorageError, match=f"{folder}: its member {uri}: .*gone"):
            load_model(str(folder))


# --- S3 and the registry -------------------------------------------------------------------------------------------


def test_members_in_s3_beside_it_and_elsewhere(s3: Any, make: Callable[..., Path]) -> None:
    make_bucket("composites")
    folder = make(heads=["s3://composites/others/mask", "heads/hat.onnx"])
    expected = opened(make(heads=["heads/mask", "heads/hat.onnx"]))
    upload(folder / "heads" / "mask", "s3://composites/others/mask")
    folder = make(heads=["s3://composites/others/mask", "heads/hat.onnx"])
    upload(folder, "s3://composites/people")
    for uri in ("s3://composites/people", "s3://composites/people/composite.json"):
        model = load_model(uri)
        assert isinstance(model, Composite)
        assert [one.sha256 for one in model.members] == [one.sha256 for one in expected.members]
    upload(folder / "composite.json", "s3://composites/composite.json")
    with pytest.raises(StorageError, match=r"s3://composites/composite.json: its member green.onnx"):
        load_model("s3://composites/composite.json")


def test_registered_members(mlflow: MlflowServer, make: Callable[..., Path]) -> None:
    folder = make()
    green = mlflow.register_run("green faces", {"model.onnx": (folder / "green.onnx").read_bytes()})
    mask = mlflow.register_run("masks", {"model.onnx": build_model()})
    mlflow.call("POST", "/mlflow/registered-models/alias", {"name": "masks", "alias": "champion", "version": mask})
    card = {
        "name": "x",
        "detectors": [f"models:/green%20faces/{green}"],
        "heads": ["models:/masks@champion", "parts/hat"],
    }
    files = {"composite.json": json.dumps(card).encode(), "parts/hat/model.onnx": hats()}
    version = mlflow.register_run("people", files)
    model = load_model(f"models:/people/{version}")
    assert isinstance(model, Composite)
    assert (model.name, model.version) == ("people", version)
    assert [(one.name, one.version) for one in model.members[:2]] == [("green faces", green), ("masks", mask)]
    assert model.members[2].name == "hats"
    (faces,) = model.predict([(Photo(PHOTOS["PNG"][0]), [])])
    assert faces == by_hand(model, [PHOTOS["PNG"][0]])[0]

    for member, error, text in (
        ("models:/masks/99", NotFoundError, "model 'masks' has no version 99"),
        ("models:/masks@best", NotFoundError, "model 'masks' has no alias 'best'"),
        (f"models:/people/{version}", InputError, "is a composite itself"),
        ("gone.onnx", NotFoundError, "No such artifact: .*gone.onnx"),
        ("gone", StorageError, "found nothing"),
    ):
        broken = mlflow.register_run("broken", {"composite.json": json.dumps(card | {"heads": [member]}).encode()})
        with pytest.raises(error, match=f"models:/broken/{broken}: its member {member}.*{text}"):
            load_model(f"models:/broken/{broken}")


def test_open_model_takes_no_composite() -> None:
    with pytest.raises(InputError, match="not an ONNX model"):
        open_model(b'{"name": "x"}')
