"""A trained detector has the average precision that ultralytics' own validation gives the same weights."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_door import SPACE, write_door_photos
from PIL import Image as PilImage

from components.evaluate.evaluate import evaluate
from components.predict.predict import predict
from components.shared.dataset.annotations import Face, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.train_yolo.config import YoloConfig, resolve_config
from components.train_yolo.data import read_data, unpack
from components.train_yolo.library import trainer_running, ultralytics
from components.train_yolo.train import train

pytestmark = pytest.mark.slow

NETWORK = """
nc: 1
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 1]]
  - [-1, 1, Conv, [48, 3, 2]]
  - [-1, 1, Conv, [48, 3, 1]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[4, 5, 6], 1, Detect, [nc]]
"""
EPOCHS = {"": 16, SPACE: 24}
WIDTH, HEIGHT = 160, 128
Scores = tuple[float, float]


@pytest.fixture(scope="module", params=EPOCHS, ids=["one_class", "two_classes"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[YoloConfig, Path]:
    """A detector of faces that often takes one class for the other: its configuration, and a folder with all of it."""
    folder = tmp_path_factory.mktemp("door")
    (folder / "network.yaml").write_text(NETWORK)
    write_door_photos(folder, {"train": 96, "val": 48}, (HEIGHT, WIDTH))
    config = resolve_config(
        {
            "model": str(folder / "network.yaml"),
            "label_space": request.param,
            "imgsz": WIDTH,
            "epochs": EPOCHS[request.param],
            "batch": 8,
            "optimizer": "AdamW",
            "lr": 0.004,
            "warmup_epochs": 1,
            "mosaic": 0.0,
            "device": "cpu",
            "plots": False,
        }
    )
    data = folder / "images", folder / "annotations.json"
    train(config, *data, folder / "checkpoints", folder / "exported", name="door")
    return config, folder


def ours(model: Path, data: Path, scratch: Path) -> Scores:
    """mAP50 and mAP50-95 of the exported model by predict and evaluate."""
    scratch.mkdir()
    predict(model / "exported", data / "images", data / "annotations.json", scratch / "p.csv", split="val")
    metrics = evaluate(scratch / "p.csv", data / "annotations.json", scratch / "report").metrics
    return metrics["map50"], metrics["map50_95"]


def theirs(config: YoloConfig, model: Path, data: Path, scratch: Path) -> Scores:
    """mAP50 and mAP50-95 of best.pt by the validation of ultralytics."""
    unpacked = unpack(config, read_data(config, data / "images", data / "annotations.json"), scratch / "data")
    with trainer_running():
        result = ultralytics.YOLO(str(model / "checkpoints/best.pt")).val(
            data=str(unpacked.address),
            split="val",
            imgsz=config.imgsz,
            rect=True,
            conf=0.001,
            iou=config.iou,
            device="cpu",
            workers=0,
            plots=False,
            project=str(scratch),
            name="validation",
        )
    return float(result.box.map50), float(result.box.map)


def shrunken(source: Path, target: Path) -> None:
    """Write the photos as they are in the input, resized with antialiasing as serving does, and their faces."""
    target.mkdir()
    data, archive, images = read_annotations(source / "annotations.json"), ImageArchive(source / "images"), []
    with ArchiveWriter(target / "images") as writer:
        for image in data.images:
            buffer = io.BytesIO()
            photo = PilImage.open(io.BytesIO(archive.read(image.file_name)))
            photo.resize((WIDTH, HEIGHT), PilImage.Resampling.BILINEAR).save(buffer, "PNG")
            writer.add(image.file_name, buffer.getvalue())
            faces = _scaled(image.faces, WIDTH / image.width)
            images.append(replace(image, width=WIDTH, height=HEIGHT, faces=faces))
    write_annotations(replace(data, images=tuple(images)), target / "annotations.json")


def _scaled(faces: Sequence[Face], scale: float) -> tuple[Face, ...]:
    return tuple(replace(face, box=tuple(scale * side for side in face.box or ())) for face in faces)  # type: ignore[arg-type]


def test_photos_of_the_size_of_the_input(
    trained: tuple[YoloConfig, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = trained
    judged = tmp_path / "judged"
    judged.mkdir()
    write_door_photos(judged, {"train": 3, "val": 150}, (HEIGHT, WIDTH), seed=1)
    own, expected = ours(folder, judged, tmp_path / "ours"), theirs(config, folder, judged, tmp_path)
    with capsys.disabled():
        print(f"\n{config.labels}: mAP50, mAP50-95 {own}, by ultralytics {expected}")
    assert 0.4 < expected[1] < expected[0] < 0.995, "neither blind nor perfect, so the figures can differ"
    assert own == pytest.approx(expected, abs=0.01)


def test_photos_that_are_resized(
    trained: tuple[YoloConfig, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ultralytics resizes without antialiasing, which moves mAP50-95; on the same resized pixels both agree."""
    config, folder = trained
    large, small = tmp_path / "large", tmp_path / "small"
    large.mkdir()
    write_door_photos(large, {"train": 3, "val": 150}, (400, 500), seed=5)
    shrunken(large, small)
    own = [ours(folder, data, tmp_path / f"ours_{data.name}") for data in (large, small)]
    expected = [theirs(config, folder, data, tmp_path / f"theirs_{data.name}") for data in (large, small)]
    with capsys.disabled():
        print(f"\n{config.labels}: large {own[0]}, by ultralytics {expected[0]}; small {own[1]}, {expected[1]}")
    assert own[0] == pytest.approx(own[1], abs=0.002), "serving sees the same pixels"
    assert own[1] == pytest.approx(expected[1], abs=0.01)
    assert own[0][0] == pytest.approx(expected[0][0], abs=0.02), "resizing moves even mAP50 a little"
