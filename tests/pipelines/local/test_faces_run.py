"""A run that finds the faces first: drawn group photos to a model that answers a whole photo, on this machine."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sample import SMALL_TRAINING, put_small_sample
from tiny_detector import build_detector

from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from pipelines.catalog import CALIBRATION_REPORT, DATA_REPORT, FACES_REPORT, PROMOTION_REPORT, REPORT
from pipelines.classification import ClassificationFacesConfig
from pipelines.command.config import resolve
from pipelines.environment.settings import Settings
from pipelines.local import summary
from pipelines.local.cache import cache_folder
from pipelines.local.run import Run, run
from pipelines.local.stack import local_stack, mlflow_address
from pipelines.parameters.pipeline import DRAWN_GROUPS
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model

pytestmark = pytest.mark.slow

FINDING = ["adopt-detectors", "detection-shards", "shard=0/detect-faces", "shard=1/detect-faces", "choose-faces"]


@pytest.fixture(scope="module")
def config(home: Path) -> ClassificationFacesConfig:
    """Shards of four photos; the first detector finds nothing in drawn photos, and can be served."""
    home.mkdir()
    (home / "green.onnx").write_bytes(build_detector())
    put_small_sample(home, DRAWN_GROUPS)
    return ClassificationFacesConfig(
        **{**SMALL_TRAINING, "epochs": 1},
        source=DRAWN_GROUPS,
        format="coco",
        label_space="gender",
        faces={"detectors": [{"onnx": str(home / "green.onnx")}, "dlib_hog"], "crops": {}},
        composite="groups",
        images_per_shard=4,
        val_ratio=0.0,
        test_ratio=0.3,
        floors={"accuracy": 0.0},
    )


def go(home: Path, config: ClassificationFacesConfig, lines: list[str]) -> Run:
    done = run(config, Settings.from_environment({"FACET_HOME": str(home)}), name="groups", echo=lines.append)
    assert (done.failed, done.error) == ("", "")
    return done


@pytest.fixture(scope="module")
def result(home: Path, config: ClassificationFacesConfig) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FACET_CACHE", raising=False)
        yield go(home, config, [])


def test_faces_are_found_shard_by_shard_and_cut_out_before_the_split(result: Run) -> None:
    steps = [name for name in result.seconds if name != "data-report"]
    assert set(FINDING) <= set(steps)
    order = [steps.index(name) for name in ("curate", "shard=0/detect-faces", "choose-faces", "crop-faces")]
    assert order == sorted(order) and steps.index("choose-faces") < steps.index("split")
    chosen = read_annotations(result.folder / "choose-faces/detected_annotations")
    truth = read_annotations(result.folder / "curate/curated_annotations")
    assert {image.detection.method for image in chosen.images if image.detection} == {"dlib_hog"}
    assert sum(len(image.faces) for image in chosen.images) == sum(len(image.faces) for image in truth.images)
    assert {path.name for path in result.folder.glob("*.html")} == {
        *(REPORT, DATA_REPORT, FACES_REPORT, CALIBRATION_REPORT, PROMOTION_REPORT)
    }


def test_the_training_read_the_crops_and_the_prediction_the_photos(result: Run) -> None:
    recorded = json.loads((result.folder / "train-classifier/checkpoints/config.json").read_text())
    assert recorded["cropped"] is True
    crops = ImageArchive(result.folder / "crop-faces/crops")
    sizes = [Image.open(io.BytesIO(crops.read(name))).size for name in crops.names]
    whole = [height / width == pytest.approx(64 / 48, rel=0.05) for width, height in sizes]
    assert any(whole), "in the shape of the training's input, but for those that the border cuts"
    chosen = read_annotations(result.folder / "choose-faces/detected_annotations")
    assert len(sizes) == sum(len(image.faces) for image in chosen.images)


def test_detector_and_classifier_answer_a_photo_under_one_name(home: Path, result: Run) -> None:
    with local_stack(home) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        mlflow_address(home, stack)  # waits until it is up
        served = load_model("models:/groups@champion")
        photo = Image.new("RGB", (320, 240), (90, 90, 90))
        photo.paste((0, 255, 0), (40, 60, 120, 160))
        ((face,),) = served.predict([(Photo.of_pixels(np.asarray(photo)), ())])
        assert face.box is not None and [round(value) for value in face.box] == [40, 60, 80, 100]
        assert set(face.heads) == {"gender"}


def test_the_summary_names_what_serves_raw_photos(result: Run, config: ClassificationFacesConfig) -> None:
    lines = list(summary.success(result, config))
    assert "model          faces, version 1 (candidate and champion)" in lines
    assert "with detector  groups, version 1 (candidate and champion)" in lines
    assert f"faces          {result.folder / FACES_REPORT}" in lines
    assert "next: make serve MODEL=models:/groups@champion" in lines
    assert resolve(str(result.folder / "config.yaml"), (), {}) == config


def test_a_second_run_takes_the_detection_from_the_cache(
    home: Path, config: ClassificationFacesConfig, result: Run
) -> None:
    """The photos and the detectors are the same; the choice is another one."""
    entries = {entry: entry.stat().st_mtime_ns for entry in cache_folder(home).glob("detect_faces/*")}
    assert entries
    changed = config.model_copy(update={"faces": {**config.faces, "choose": "largest"}})
    again = go(home, changed, [])
    after = {entry: entry.stat().st_mtime_ns for entry in cache_folder(home).glob("detect_faces/*")}
    assert after.keys() == entries.keys() and any(after[entry] > entries[entry] for entry in entries)
    for shard in (0, 1):
        path = f"shard={shard}/detect-faces/detections"
        assert (again.folder / path).read_bytes() == (result.folder / path).read_bytes()
    assert "FACET_CACHE" not in os.environ
