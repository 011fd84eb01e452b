"""The export of ultralytics' checkpoints: what the graph gives, what the card says, and what cannot be exported."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_photos import labeled_photos
from tiny_detector import draw_faces
from tiny_model import build_model, card_facts
from ultralytics_models import TorchDetector, differences, save_random
from yolo_samples import TINY_DETECTOR

from components.detect_faces.adopt import adopt_detectors
from components.shared.chain_file import read_chain
from components.train_yolo.export import Provenance, export, export_weights
from serving.runtime.card import ClassificationCard, CropRule
from serving.runtime.composite import Composite
from serving.runtime.detector import LABEL_HEAD, Detector
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model, open_model
from serving.runtime.predictor import Classifier

BACKBONE = TINY_DETECTOR[: TINY_DETECTOR.index("head:\n") + len("head:\n")]
DETECT = f"{BACKBONE}  - [[2, 3, 4], 1, Detect, [nc]]"
TWO_BRANCHES = f"{BACKBONE}  - [[2, 3, 4], 1, v10Detect, [nc]]"
POSE = f"kpt_shape: [5, 3]\n{BACKBONE}  - [[2, 3, 4], 1, Pose, [nc, kpt_shape]]"
SEVENTEEN = POSE.replace("[5, 3]", "[17, 3]")
SEGMENT = f"{BACKBONE}  - [[2, 3, 4], 1, Segment, [nc, 4, 8]]"
CLASSIFY = f"{BACKBONE}  - [-1, 1, Classify, [nc]]"
MASKS = ("worn", "incorrect", "absent")

FAMILIES = {
    "yolov3-tiny.yaml": "detect",
    "yolov5n.yaml": "detect",
    "yolov8n.yaml": "detect",
    "yolov8n-p6.yaml": "detect",
    "yolov9t.yaml": "detect",
    "yolov10n.yaml": "detect",
    "yolo11n.yaml": "detect",
    "yolo12n.yaml": "detect",
    "yolo26n.yaml": "detect",
    "yolov8n-rtdetr.yaml": "rtdetr",
    "yolo11n-pose.yaml": "pose",
    "yolo26n-pose.yaml": "pose",
    "yolov8n-cls.yaml": "classify",
    "yolo11n-cls.yaml": "classify",
    "yolo26n-cls.yaml": "classify",
}


def exported(folder: Path, description: str, **options: Any) -> tuple[Path, bytes]:
    """A random checkpoint and its export; options of `save_random` are taken out of those of `export`."""
    own = {name: options.pop(name) for name in ("names", "kind", "data_kpt_shape", "imgsz_trained") if name in options}
    if "imgsz_trained" in own:
        own["imgsz"] = own.pop("imgsz_trained")
    weights = save_random(folder / "random.pt", description, **own)
    export(weights, folder / "model", name="faces", **options)
    return weights, (folder / "model" / "model.onnx").read_bytes()


def detector_of(content: bytes) -> Detector:
    model = open_model(content, threads=1)
    assert isinstance(model, Detector)
    return model


def drawn_photos(count: int) -> list[Photo]:
    """Photos of many sizes, smaller and larger than the input, with rectangles on noise."""
    rng = np.random.default_rng(4)
    photos = []
    for number in range(count):
        height, width = rng.integers(24, 300, 2).tolist()
        pixels = draw_faces((height, width), [(width // 4, height // 4, width // 3, height // 3)], [80 + 10 * number])
        noise = rng.integers(-40, 40, pixels.shape)
        photos.append(Photo.of_pixels((pixels + noise).clip(0, 255).astype(np.uint8)))
    return photos


@pytest.mark.parametrize(
    "description",
    [
        pytest.param(DETECT, id="detect"),
        pytest.param(TWO_BRANCHES, id="two branches", marks=pytest.mark.slow),
        pytest.param(POSE, id="pose", marks=pytest.mark.slow),
    ],
)
def test_the_served_detector_finds_what_ultralytics_finds(tmp_path: Path, description: str) -> None:
    names = ("face",) if description == POSE else MASKS
    kind = "pose" if description == POSE else "detect"
    weights, content = exported(tmp_path, description, kind=kind, names=names, conf=0.6, imgsz=160)
    served = detector_of(content)
    found = [differences(served, TorchDetector(weights, served), photo) for photo in drawn_photos(10)]
    assert sum(faces for faces, _, _ in found) > 100
    assert max(pixels for _, pixels, _ in found) < 1 and max(scores for _, _, scores in found) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("description", FAMILIES)
def test_every_family_is_exported_and_gives_what_torch_gives(tmp_path: Path, description: str) -> None:
    kind = FAMILIES[description]
    names = MASKS if kind in ("classify", "rtdetr") else ("face",)
    points = {"data_kpt_shape": (5, 3)} if kind == "pose" else {}
    space = "mask" if kind == "classify" else ""
    _, content = exported(tmp_path, description, kind=kind, names=names, label_space=space, imgsz=128, **points)
    assert open_model(content, threads=1).name == "faces"


@pytest.mark.photos
def test_fifty_photos_have_the_faces_that_ultralytics_finds(tmp_path: Path) -> None:
    if not os.environ.get("FACET_PHOTOS"):
        pytest.skip("FACET_PHOTOS is not set")
    weights, content = exported(tmp_path, "yolo11n.yaml", imgsz=320, conf=0.7)
    served = detector_of(content)
    files = [photo.file for photo in labeled_photos(Path(os.environ["FACET_PHOTOS"]))][:50]
    found = [differences(served, TorchDetector(weights, served), Photo(file.read_bytes())) for file in files]
    assert len(found) == 50 and sum(faces for faces, _, _ in found) > 500
    assert max(pixels for _, pixels, _ in found) < 1 and max(scores for _, _, scores in found) < 1e-3


def test_a_detectors_card_says_what_its_training_and_the_options_say(tmp_path: Path) -> None:
    made_of = Provenance(leaks=True, dataset_digest="d" * 64, training_digest="t" * 64, versions={"facet": "1"})
    weights, content = exported(
        tmp_path, DETECT, names=("someone",), imgsz_trained=100, conf=0.3, iou=0.6, max_detections=9, provenance=made_of
    )
    card = detector_of(content).card
    assert (card.labels, card.label_space, card.points) == (("face",), None, ())
    assert (card.input.height, card.input.width) == (128, 128), "the next multiple of 32"
    resize = {"background": 114, "position": "center", "stride": 32, "enlarge": True}
    assert card.resize.model_dump(exclude_none=True) == resize
    assert card.thresholds.model_dump() == {"score": 0.3, "nms_iou": 0.6, "max_detections": 9}
    assert (card.leaks, card.dataset_digest, card.training_digest) == (True, "d" * 64, "t" * 64)
    assert {"facet", "ultralytics", "torch", "onnx"} <= card.versions.keys()
    assert str(tmp_path).encode() not in content and b"site-packages" not in content and b".py" not in content
    export(weights, tmp_path / "again", name="faces", conf=0.3, iou=0.6, max_detections=9, provenance=made_of)
    assert (tmp_path / "again" / "model.onnx").read_bytes() == content, "same bytes"
    with pytest.raises(InputError, match="imgsz = 100: expected a multiple of 32"):
        export(weights, tmp_path / "odd", name="faces", imgsz=100)
    with pytest.raises(InputError, match="already exists and is not empty"):
        export(weights, tmp_path / "again", name="faces")


def test_classes_are_put_into_the_order_of_the_label_space(tmp_path: Path) -> None:
    mixed = ("absent", "worn", "incorrect")
    weights, content = exported(tmp_path, DETECT, names=mixed, label_space="mask")
    export(weights, tmp_path / "plain", name="faces")
    plain = detector_of((tmp_path / "plain" / "model.onnx").read_bytes())
    ordered = detector_of(content)
    assert (plain.card.labels, plain.card.label_space) == (mixed, None)
    assert (ordered.card.labels, ordered.card.label_space) == (MASKS, "mask")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    scores = plain.infer(images)["scores"][..., [mixed.index(label) for label in MASKS]]
    np.testing.assert_allclose(ordered.infer(images)["scores"], scores, atol=1e-6)
    with pytest.raises(InputError, match="its classes are absent, worn, incorrect, those of .*'gender' are male, fem"):
        export(weights, tmp_path / "other", name="faces", label_space="gender")
    with pytest.raises(InputError, match="'all' has several heads"):
        export(weights, tmp_path / "other", name="faces", label_space="all")


def test_a_classifier_gives_the_probabilities_of_ultralytics_once(tmp_path: Path) -> None:
    names = ("Sad", "happy", "ANGER")
    space = "emotion:happy,sad,anger"
    crop = CropRule(scale=1.5)
    weights, content = exported(tmp_path, CLASSIFY, kind="classify", names=names, label_space=space, crop=crop)
    model = open_model(content)
    assert isinstance(model, Classifier) and isinstance(model.card, ClassificationCard)
    (head,) = model.card.heads
    assert (head.name, head.labels, model.card.label_space) == ("emotion", ("happy", "sad", "anger"), space)
    assert model.card.crop == crop and model.card.normalization.std == (1, 1, 1)
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    network = torch.load(weights, weights_only=False)["model"]
    with torch.no_grad():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)[1].softmax(1)[:, [1, 0, 2]].numpy()
    np.testing.assert_allclose(model.infer(images)["emotion"], expected, atol=1e-6)
    assert expected.std(axis=0).max() > 1e-4, "the probabilities depend on the pictures"
    with pytest.raises(InputError, match="label_space: a classifier needs one; .*has the classes Sad, happy, ANGER"):
        export(weights, tmp_path / "none", name="faces")


def test_five_points_are_those_of_a_face_and_others_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights, content = exported(tmp_path, POSE, kind="pose", conf=0.5)
    served = detector_of(content)
    assert served.card.points == ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    network = torch.load(weights, weights_only=False)["model"]
    with torch.no_grad():
        rows = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)[0][0].T
    np.testing.assert_allclose(served.infer(images)["points"][0], rows[:, 5:].reshape(-1, 5, 3)[..., :2], atol=0.05)
    (tmp_path / "17").mkdir()
    with caplog.at_level("INFO"):
        _, content = exported(tmp_path / "17", SEVENTEEN, kind="pose")
    assert detector_of(content).card.points == () and "17 points, which are left out" in caplog.text


def test_a_detector_of_labels_is_a_member_of_composites_and_chains(tmp_path: Path) -> None:
    _, content = exported(tmp_path, DETECT, names=MASKS, label_space="mask", conf=0.6)
    hats = build_model(
        card_facts(name="hats", label_space="hat:cap,none", heads=[{"name": "hat", "labels": ["cap", "none"]}])
    )
    (tmp_path / "hats.onnx").write_bytes(hats)
    card = {"name": "door", "detectors": ["model"], "heads": ["hats.onnx"]}
    (tmp_path / "composite.json").write_text(json.dumps(card))
    photo = drawn_photos(3)[-1]
    composite = load_model(str(tmp_path))
    assert isinstance(composite, Composite)
    alone, (together,) = detector_of(content).detect([photo])[0], composite.predict([(photo, ())])
    assert together and [face.box for face in together] == [face.box for face in alone][: len(together)]
    for face, expected in zip(together, alone, strict=False):
        assert list(face.heads) == [LABEL_HEAD, "hat"] and face.heads[LABEL_HEAD] == expected.heads[LABEL_HEAD]
        assert list(face.heads[LABEL_HEAD]) == list(MASKS)
    adopt_detectors(tmp_path / "chain", [{"onnx": str(tmp_path / "model")}])
    (member,) = read_chain(tmp_path / "chain").members
    assert (tmp_path / "chain" / member.file).read_bytes() == content


def broken_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.pt" for name in ("text", "cut", "state", "script", "segment", "empty")}
    whole = save_random(folder / "whole.pt", DETECT).read_bytes()
    files["text"].write_text("no checkpoint")
    files["cut"].write_bytes(whole[: len(whole) // 2])
    files["empty"].write_bytes(b"")
    torch.save(torch.nn.Linear(2, 2).state_dict(), files["state"])
    torch.jit.script(torch.nn.Linear(2, 2)).save(files["script"])
    save_random(files["segment"], SEGMENT, kind="segment")
    return files


def test_what_cannot_be_served_is_one_clear_error(tmp_path: Path) -> None:
    files = broken_files(tmp_path)
    said = {}
    for name, file in files.items():
        with pytest.raises(InputError, match=file.name) as caught:
            export_weights(str(file), tmp_path / "model", name="faces")
        said[name] = str(caught.value)
        assert len(said[name]) < 700 and "\n" not in said[name], said[name]
    assert "Segment, which cannot be served" in said["segment"]
    with pytest.raises(NotFoundError, match="missing.pt"):
        export_weights(str(tmp_path / "missing.pt"), tmp_path / "model", name="faces")
    with pytest.raises(InputError, match="trust_weights"):
        export_weights("s3://models/face.pt", tmp_path / "model", name="faces")
    with pytest.raises(InputError, match="options of export_yolo: confidence = 1: unknown key"):
        export_weights(str(files["text"]), tmp_path / "model", name="faces", options={"confidence": 1})
    with pytest.raises(InputError, match="name: must not be empty"):
        export(tmp_path / "whole.pt", tmp_path / "model", name=" ")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("detect", {"crop_scale": 1.5}, "crop_scale: .*random.pt is a detector; leave out what a classifier needs"),
        ("classify", {"conf": 0.3, "iou": 0.5}, "conf, iou: .*random.pt is a classifier; leave out what a detector"),
        ("classify", {"max_detections": 5}, "max_detections: "),
    ],
)
def test_options_of_the_other_kind_are_refused(
    kind: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    description = {"detect": DETECT, "classify": CLASSIFY}[kind]
    weights = save_random(tmp_path / "random.pt", description, kind=kind, names=MASKS)
    with pytest.raises(InputError, match=message):
        export_weights(str(weights), tmp_path / "model", name="faces", label_space="mask", options=options)
    assert not (tmp_path / "model").exists()


def test_the_one_to_one_branch_alone_is_refused(tmp_path: Path) -> None:
    weights = save_random(tmp_path / "random.pt", TWO_BRANCHES)
    content = torch.load(weights, weights_only=False)
    content["model"].end2end = True
    content["model"].fuse(verbose=False)
    torch.save(content, weights)
    with pytest.raises(InputError, match="only the one-to-one branch is left"):
        export(weights, tmp_path / "model", name="faces")
