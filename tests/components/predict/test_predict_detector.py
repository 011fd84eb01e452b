"""Prediction with a detector, on drawn photos whose faces it finds exactly."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from green_faces import green_photo, write_detector, write_photos
from kfp import dsl

from components.predict.component import predict as door
from components.predict.predict import predict
from components.shared.dataset.annotations import Face
from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import read_predictions
from serving.runtime.detector import LABEL_HEAD
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model

BOXES = {
    "a.png": ([(10, 20, 30, 40), (100, 60, 60, 50), (200, 150, 20, 25)], [255, 140, 200]),
    "b/none.png": ([], None),
    "b/c.png": ([(5, 5, 80, 90)], None),
    "d.png": ([(50, 50, 24, 24)], None),
    "e.png": ([(0, 0, 40, 40)], None),
}
PHOTOS = {name: green_photo(boxes, levels) for name, (boxes, levels) in BOXES.items()}
SPLITS = {"d.png": "train", "e.png": None}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    thresholds = {"score": 0.75, "nms_iou": 0.5, "max_detections": 50}
    return write_detector(tmp_path_factory.mktemp("green") / "model", thresholds=thresholds)


def run(folder: Path, model: Path, output: str = "p.csv", **options: object) -> Detections:
    predict(model, folder / "images", folder / "a.json", folder / output, **options)  # type: ignore[arg-type]
    table = read_predictions(folder / output)
    assert isinstance(table, Detections)
    return table


@pytest.mark.parametrize("labels", [("face",), ("bare", "masked")])
def test_every_image_of_the_split_has_the_boxes_that_serving_finds_from_a_low_score_on(
    labels: tuple[str, ...], tmp_path: Path
) -> None:
    own = write_detector(tmp_path / "model", thresholds={"score": 0.75}, labels=labels)
    data = write_photos(tmp_path, PHOTOS, {"a.png": [Face(1, (1.0, 1.0, 5.0, 5.0), {})]}, SPLITS)
    table = run(tmp_path, own)
    assert [image.path for image in table.images] == ["a.png", "b/none.png", "b/c.png"]
    assert (table.threshold, table.labels, table.label_space, table.model) == (0.75, labels, "", "green")
    assert table.images_digest == data.info.images_digest
    served = load_model(str(own))
    assert table.version == served.version
    for image in table.images:
        boxes, levels = BOXES[image.path]
        expected = sorted(
            zip([level / 255 for level in levels or [255] * len(boxes)], boxes, strict=True), reverse=True
        )
        found = image.served
        np.testing.assert_allclose(found.score, [score for score, _ in expected], atol=1e-6)
        np.testing.assert_allclose(
            found.boxes.reshape(-1, 4), np.reshape([box for _, box in expected], (-1, 4)), atol=1e-3
        )
        (answer,) = served.predict([(Photo(PHOTOS[image.path]), [])])
        shown = found.score >= table.threshold
        assert [face.box for face in answer] == [tuple(box) for box in found.boxes[shown].tolist()]
        if len(labels) > 1:
            assert [list(face.heads[LABEL_HEAD].values()) for face in answer] == found.scores[shown].tolist()
    assert {image.sha256 for image in table.images} <= {image.sha256 for image in data.images}


def test_threads_change_no_byte(model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, PHOTOS, {}, SPLITS)
    for name, workers in (("one", 1), ("many", 3)):
        run(tmp_path, model, name, workers=workers, split="all")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    assert len(run(tmp_path, model, split="all").images) == 5
    assert [image.path for image in run(tmp_path, model, split="train").images] == ["d.png"]
    with pytest.raises(InputError, match="no image is in split 'val'; present: no split 0 faces"):
        run(tmp_path, model, split="val")


def test_images_that_cannot_be_decoded_are_counted_and_limited(model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, PHOTOS | {"x.png": b"no image", "y.png": PHOTOS["a.png"][:200]}, {}, SPLITS)
    with pytest.raises(InputError, match=r"2 of 5 images could not be predicted \(not_an_image 1, .*max_failed=2"):
        run(tmp_path, model, max_failed=1)
    assert not (tmp_path / "p.csv").exists()
    report = predict(model, tmp_path / "images", tmp_path / "a.json", tmp_path / "p.csv", max_failed=2)
    assert (report.images, sum(report.failed.values())) == (3, 2)
    assert report.faces == 3, "those of the card's threshold"


@pytest.mark.parametrize("kind", ["tree", "zip"])
def test_bare_pictures_are_searched_without_annotations(kind: str, model: Path, tmp_path: Path) -> None:
    for name, data in PHOTOS.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    images = tmp_path / "tree"
    if kind == "zip":
        images = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", images))
    report = predict(model, images, None, tmp_path / "p.csv")
    table = read_predictions(tmp_path / "p.csv")
    assert isinstance(table, Detections)
    assert [(image.image_id, image.path) for image in table.images] == list(enumerate(sorted(PHOTOS), start=1))
    assert [len(image.served.boxes) for image in table.images] == [3, 1, 0, 1, 1] and report.images == 5


def test_another_picture_of_the_same_name_is_refused(model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, PHOTOS, {}, SPLITS)
    write_photos(tmp_path / "other", PHOTOS | {"a.png": PHOTOS["d.png"]}, {}, SPLITS)
    with pytest.raises(InputError, match=r"'a.png' is another picture"):
        predict(model, tmp_path / "other" / "images", tmp_path / "a.json", tmp_path / "p.csv", max_failed=9)


def test_the_component_of_a_detector(model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path, PHOTOS, {}, SPLITS)
    metrics = dsl.Metrics(uri=str(tmp_path / "m"))
    door.python_func(
        model=dsl.Model(uri=str(model)),
        images=dsl.Dataset(uri=str(tmp_path / "images")),
        annotations=dsl.Dataset(uri=str(tmp_path / "a.json")),
        predictions=dsl.Dataset(uri=str(tmp_path / "p.csv")),
        metrics=metrics,
    )
    assert metrics.metadata == {"faces": 3.0, "images": 3.0, "failed": 0.0}
