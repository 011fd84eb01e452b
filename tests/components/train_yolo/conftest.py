"""What the tests of train_yolo share."""

from pathlib import Path

import pytest
from yolo_samples import config, write_dataset

from components.train_yolo.train import YoloResult, train


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny photos: `images` and `annotations.json`."""
    folder = tmp_path_factory.mktemp("yolo")
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def detector(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, YoloResult]:
    """A detector that was trained for two epochs: the folder of `checkpoints` and `exported`, and the result."""
    folder = tmp_path_factory.mktemp("detector")
    result = train(
        config(folder / "models", plots=True),
        dataset / "images",
        dataset / "annotations.json",
        folder / "checkpoints",
        folder / "exported",
        name="faces",
    )
    return folder, result
