"""What the tests of training share."""

from pathlib import Path
from typing import Any

import pytest
from train_samples import Run, config, write_dataset

from components.train_classifier.train import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny faces: `images` and `annotations.json`."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder)
    return folder


@pytest.fixture
def run(dataset: Path, tmp_path: Path) -> Run:
    """A function that trains with the entries of a config, and returns the folder of checkpoints."""

    def call(name: str = "out", **entries: Any) -> Path:
        train(config(**entries), dataset / "images", dataset / "annotations.json", tmp_path / name)
        return tmp_path / name

    return call
