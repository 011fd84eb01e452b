"""The parameters of pipelines that find faces: what `faces` may hold, and what becomes of it."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from tiny_detector import build_detector
from tiny_model import build_model

from components.crop_faces.crop_faces import crop_faces
from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.shared.dataset.crops import on_crops
from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.config.augmentation import AugmentationSpec
from components.train_classifier.config.training import IMAGENET
from pipelines.catalog import NAMES, PIPELINES, WITH_FACES, WITH_YOLO
from pipelines.classification import ClassificationFacesConfig
from pipelines.command.config import resolve
from pipelines.environment.settings import Settings
from pipelines.local.leak import leak_experiment
from pipelines.local.run import run
from pipelines.parameters.addresses import check_addresses
from serving.runtime.errors import InputError


def picture_bytes(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        resolve(str(file), (), {})
    return [line.replace(str(file), "FILE") for line in str(refused.value).splitlines()]


@pytest.mark.parametrize("name", WITH_FACES)
@pytest.mark.parametrize("key", ["faces={}", "images_per_shard=100", "composite="])
def test_a_key_about_faces_makes_the_pipeline_find_them(name: str, key: str) -> None:
    plain = resolve("", [f"pipeline={name}"], {})
    if key.partition("=")[0] in PIPELINES[WITH_FACES[name]].config.model_fields:
        config = resolve("", [f"pipeline={name}", key], {})
        assert (plain.pipeline, config.pipeline) == (name, f"{name}_faces")
        assert set(type(config).model_fields) > set(type(plain).model_fields)


def test_the_names_of_a_config_are_those_without_variants() -> None:
    variants = {*WITH_FACES.values(), *WITH_YOLO.values()}
    assert set(NAMES) | variants == set(PIPELINES)
    assert not set(NAMES) & variants


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "faces: {detector: []}",
            "FILE: faces.detector = []: unknown key, did you mean 'detectors'?; known: center",
        ),
        ("faces: {detectors: []}", "FILE: faces.detectors = []: List should have at least 1 item"),
        ("faces: {detectors: yunet}", "FILE: faces.detectors = 'yunet': Input should be a valid list"),
        (
            "faces: {detectors: [yunet]}",
            "FILE: faces.detectors.0 = 'yunet': unknown detector; known: annotations, dlib_cnn, dlib_hog, onnx, table",
        ),
        (
            "faces: {detectors: [dlib_hog, {dlib_hob: {}}]}",
            "FILE: faces.detectors.1 = 'dlib_hob': unknown detector, did you mean 'dlib_hog'?; known: ",
        ),
        (
            "faces: {detectors: [{onnx: a, table: b}]}",
            "FILE: faces.detectors.0 = {'onnx': 'a', 'table': 'b'}: expected one",
        ),
        ("faces: {detectors: [{onnx: {}}]}", "FILE: faces.detectors.0.onnx.model: is missing; known: "),
        (
            "faces: {detectors: [{onnx: {model: a, scor: 1}}]}",
            "FILE: faces.detectors.0.onnx.scor = 1: unknown key, did",
        ),
        (
            "faces: {detectors: [{onnx: {model: a, score: 2}}]}",
            "FILE: faces.detectors.0.onnx.score = 2: Input should be",
        ),
        ("faces: {detectors: [annotations, annotations]}", "FILE: faces.detectors = ['annotations', 'annotations']: "),
        (
            "faces: {fallback: keep}",
            "FILE: faces.fallback = 'keep': unknown name; known: drop, person_mean, whole_image",
        ),
        ("faces: {label_space: moods}", "FILE: faces.label_space = 'moods': "),
        (
            "faces: {detectors: [dlib_hog, trained]}",
            "FILE: faces.detectors.1 = 'trained': unknown detector; known: annotations, dlib_cnn, dlib_hog, onnx",
        ),
        ("images_per_shard: 0", "FILE: images_per_shard = 0: Input should be greater than or equal to 1"),
        ("composite: a/b", "FILE: composite = 'a/b': use letters, digits"),
        (
            "composite: crowd",
            "FILE: composite = 'crowd': only an onnx detector can be served, and faces.detectors has none",
        ),
        (
            "{composite: faces, faces: {detectors: [{onnx: a}]}}",
            "FILE: composite = 'faces': is the name of the classifier, see model_name",
        ),
        (
            "faces: {crops: {scal: 9}}",
            "FILE: faces.crops.scal = 9: unknown key, did you mean 'scale'?; known: max_failed, scale",
        ),
        (
            "faces: {crops: {height: 96}}",
            "FILE: faces.crops.height = 96: is for crops that people use; those of a training have the shape and the "
            "pixels that it cuts; known: max_failed, scale",
        ),
        ("faces: {crops: {mode: square}}", "FILE: faces.crops.mode = 'square': is for crops that people use"),
        ("faces: {crops: {format: jpeg}}", "FILE: faces.crops.format = 'jpeg': is for crops that people use"),
        (
            "faces: {crops: {scale: 1.4}}",
            "FILE: faces.crops.scale = 1.4: is less than the training reads: 1.625 or more, with its crop_scale = 1.3",
        ),
        (
            "{faces: {crops: {}}, training: {crop_scale: 1.7}}",
            "FILE: faces.crops.scale = 2.0: is less than the training reads: 2.125 or more, with its crop_scale = 1.7",
        ),
        (
            "{faces: {crops: {}}, training: {augmentation: {name: Aug0, frame: image}}}",
            "FILE: faces.crops = {}: serving would see other pixels than a training on crops, since the augmentation",
        ),
        (
            "{faces: {crops: {}}, training: {crop_rule: {eyes: [[0.3, 0.4], [0.7, 0.4]]}}}",
            "FILE: faces.crops = {}: serving would see other pixels than a training on crops, since crop_rule.eyes",
        ),
        (
            "{pipeline: search, faces: {crops: {}}, space: {image_height: [96, 128]}}",
            "FILE: space.image_height = 96: serving would see other pixels than a training on crops, since it changes",
        ),
        (
            "{pipeline: search, faces: {crops: {}}, space: {crop_scale: {uniform: [1.0, 1.9]}}}",
            "FILE: space.crop_scale = 1.9: is less than the training reads: 2.375 or more, with its crop_scale = 1.9",
        ),
        ("{pipeline: cross_validation, composite: a}", "FILE: composite = 'a': unknown key; known: batch_size"),
    ],
)
def test_problems(tmp_path: Path, text: str, expected: str) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith(expected), line


def test_what_is_called_with() -> None:
    """Every part of `faces` goes to a step of its own; what is not written is left to the step's defaults."""
    config = resolve(
        "", ["faces={min_side: 20, choose: all, max_failed: 2, detectors: [{onnx: a}]}", "label_space=mask"], {}
    )
    arguments = config.arguments()
    assert "faces" not in arguments and arguments["detectors"] == [{"onnx": "a"}]
    assert arguments["detect_options"] == {"min_side": 20, "max_failed": 2}
    assert arguments["choose_options"] == {"label_space": "mask", "choose": "all", "max_failed": 2}
    assert (arguments["crop"], arguments["crop_options"]) == (False, {})
    assert ClassificationFacesConfig().arguments()["detectors"] == ["dlib_hog"]
    cropped = ClassificationFacesConfig(image_height=96, image_width=64, faces={"crops": {"scale": 3.0}}).arguments()
    assert (cropped["crop"], cropped["crop_options"]) == (True, {"aspect": 1.5, "scale": 3.0})


@pytest.mark.parametrize("size", [(64, 64), (128, 96), (40, 90), (8, 8)])
@pytest.mark.parametrize(
    "rule",
    [
        None,
        {"aspect": 4 / 3},
        "rectangle",
        {"mode": "square", "background": 9},
        {"mode": "square", "padding_scale": 0.8},
        {"mode": "fit_inside", "background": 200},
        {"mode": "short_side", "padding_scale": 0.4},
    ],
    ids=str,
)
def test_a_training_on_crops_sees_the_pixels_that_serving_cuts(
    tmp_path: Path, rule: Any, size: tuple[int, int]
) -> None:
    """Boxes of every shape, inside the photo and across its border: the tightest crops that a config may ask for."""
    rng = np.random.default_rng(5)
    photo = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    corners, sides = rng.uniform((-30, -30), (190, 140), (24, 2)), rng.uniform(12, 140, (24, 2))
    boxes = [
        box for x, y, w, h in np.hstack([corners, sides]).tolist() if x + w > 1 and y + h > 1 for box in [(x, y, w, h)]
    ]
    boxes += [(60.0, 5.0, 60.0, 140.0), (0.0, 0.0, 200.0, 150.0)]
    for scale in (0.6, 1.3):
        config = ClassificationFacesConfig(
            image_height=size[0],
            image_width=size[1],
            training={"crop_scale": scale} | ({} if rule is None else {"crop_rule": rule}),
            faces={"crops": {"scale": 1.25 * max(1, scale)}},
        )
        assert not list(config.unlike(config.train_config))
        data, name = picture_bytes(photo), f"{scale}"
        faces = tuple(Face(number, box, {}) for number, box in enumerate(boxes, start=1))
        entry = Image(1, "a.png", 200, 150, faces, split="train", sha256=hashlib.sha256(data).hexdigest())
        with ArchiveWriter(tmp_path / name / "images") as writer:
            writer.add("a.png", data)
        write_annotations(Annotations((entry,)), tmp_path / name / "a.json")
        options = config.arguments()["crop_options"]
        crops = tmp_path / name / "crops"
        crop_faces(tmp_path / name / "images", tmp_path / name / "a.json", crops, options)
        pixels = make_augmentation(AugmentationSpec(), config.train_config.input, IMAGENET).eval_pixels
        crop, archive = config.train_config.crop, ImageArchive(crops)
        cut = on_crops(read_annotations(tmp_path / name / "a.json"), crops).images
        assert len(cut) == len(boxes)
        for image, box in zip(cut, boxes, strict=True):
            from_crop = pixels(archive.read(image.file_name), image.faces[0].box, crop)
            # Less than a pixel of an input of 8 is left around the cut, and Pillow then may round in another order.
            allowed = 1 if min(size) == 8 else 0
            assert np.abs(from_crop.astype(int) - pixels(data, box, crop)).max() <= allowed, f"box {box}"


@pytest.mark.parametrize(("detectors", "expected"), [("[dlib_hog]", True), ("[annotations, {onnx: a}]", False)])
def test_a_run_without_dlib_says_so_before_it_starts(
    detectors: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve("", [f"faces={{detectors: {detectors}}}"], {})
    assert isinstance(config, ClassificationFacesConfig) and config.uses_dlib is expected
    if expected:
        monkeypatch.setattr("pipelines.local.run.find_spec", lambda name: None)
        with pytest.raises(InputError, match="has a detector of dlib, not installed here; run make setup"):
            run(config, Settings.from_environment({"FACET_HOME": str(tmp_path / "home")}))


def test_the_leak_experiment_finds_no_faces(tmp_path: Path) -> None:
    settings = Settings.from_environment({"FACET_HOME": str(tmp_path / "home")})
    with pytest.raises(InputError, match="takes the faces that come with the photos"):
        leak_experiment(ClassificationFacesConfig(), settings)


def test_models_weights_and_tables_are_looked_for(tmp_path: Path) -> None:
    detectors: list[Any] = [
        {"onnx": {"model": f"{tmp_path}/yunet.onnx", "score": 0.5}},
        {"onnx": "models:/yunet/1"},
        "dlib_hog",
        {"dlib_cnn": "s3://weights/mmod.dat"},
        {"table": f"{tmp_path}/boxes.csv"},
        "annotations",
    ]
    config = ClassificationFacesConfig(source="s3://raw/photos", faces={"detectors": detectors})
    named = {".".join(address.path): address.value for address in config.addresses()}
    assert named == {
        "source": "s3://raw/photos",
        "faces.detectors.0.onnx.model": f"{tmp_path}/yunet.onnx",
        "faces.detectors.3.dlib_cnn.weights": "s3://weights/mmod.dat",
        "faces.detectors.4.table.path": f"{tmp_path}/boxes.csv",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (build_detector(), ""),
        (build_model(), "a model of task 'classification', not a detector; expected one of: "),
        (b"text", "not an ONNX model, or cut short: "),
        (b"", "not an ONNX model, or cut short: "),
    ],
)
def test_a_model_that_is_no_detector_is_refused_before_a_run(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    for address in (str(tmp_path), str(tmp_path / "model.onnx")):
        config = ClassificationFacesConfig(faces={"detectors": [{"onnx": address}]})
        lines: list[str] = []
        try:
            check_addresses(config.addresses(), on_cluster=False, echo=print)
        except InputError as error:
            lines = str(error).splitlines()
        assert len(lines) == bool(message)
        assert not lines or lines[0].startswith(f"faces.detectors.0.onnx.model = '{address}': {message}")
