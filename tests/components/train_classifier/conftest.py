"""What the tests of training share."""

from pathlib import Path

import pytest
from train_samples import write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny faces: `images` and `annotations.json`."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder)
    return folder
