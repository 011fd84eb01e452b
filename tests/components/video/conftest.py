from pathlib import Path

import pytest
from tiny_detector import build_detector


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a detector of green rectangles."""
    file = tmp_path_factory.mktemp("detector") / "model.onnx"
    file.write_bytes(build_detector())
    return file
