from pathlib import Path

import pytest
from promoting import write_faces


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces of twelve persons."""
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The locks of a test are in its folder."""
    monkeypatch.setenv("FACET_CACHE", str(tmp_path / "cache"))
