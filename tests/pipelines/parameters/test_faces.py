"""The parameters of pipelines that find faces: what `faces` may hold, and what becomes of it."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.catalog import NAMES, PIPELINES, WITH_FACES
from pipelines.classification import ClassificationFacesConfig
from pipelines.command.config import resolve
from pipelines.environment.settings import Settings
from pipelines.local.leak import leak_experiment
from pipelines.local.run import run
from serving.runtime.errors import InputError


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


def test_the_names_of_a_config_are_those_without_faces() -> None:
    assert set(NAMES) | set(WITH_FACES.values()) == set(PIPELINES)
    assert not set(NAMES) & set(WITH_FACES.values())


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
        ("faces: {detectors: [{onnx: {}}]}", "FILE: faces.detectors.0.onnx.model = {}: is missing; known: model, name"),
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
            "faces: {crops: {heigth: 9}}",
            "FILE: faces.crops.heigth = 9: unknown key, did you mean 'height'?; known: ",
        ),
        ("faces: {crops: {height: 96}}", "FILE: faces.crops = {'height': 96}: height and width come together"),
        ("faces: {crops: {mode: square}}", "FILE: faces.crops.mode = 'square': is for crops that people use"),
        (
            "faces: {crops: {scale: 1.2}}",
            "FILE: faces.crops.scale = 1.2: is less than the training cuts, which",
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
    cropped = ClassificationFacesConfig(faces={"crops": {"height": 96, "width": 72}}).arguments()
    assert (cropped["crop"], cropped["crop_options"]) == (True, {"height": 96, "width": 72})


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
