"""What trainings that were killed leave beside the next one."""

import fcntl
from pathlib import Path

import pytest

from components.shared.training.resumable_folder import LAST, SCRATCH, resumable_folder, tidy_abandoned


def unfinished(folder: Path, name: str, *, started: bool) -> Path:
    path = folder / name
    (path / SCRATCH / "images").mkdir(parents=True)
    (path / SCRATCH / "images/1.jpg").write_bytes(b"photo")
    (path / ".lock").touch()
    if started:
        (path / LAST).touch()
    return path


def test_photos_of_killed_trainings_are_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    killed = unfinished(tmp_path, f".out.{'a' * 16}.unfinished", started=True)
    useless = unfinished(tmp_path, f".out.{'b' * 16}.unfinished", started=False)
    running = unfinished(tmp_path, f".other.{'c' * 16}.unfinished", started=True)
    foreign = unfinished(tmp_path, ".out.mine.unfinished", started=True)
    with (running / ".lock").open() as lock, resumable_folder(tmp_path / "out", "d" * 64, "", ()) as own:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (own.path / SCRATCH).mkdir()
        tidy_abandoned(own.path)
        assert (own.path / SCRATCH).exists()
    assert (killed / LAST).exists() and not (killed / SCRATCH).exists() and not useless.exists()
    assert (running / SCRATCH / "images/1.jpg").exists() and (foreign / SCRATCH / "images/1.jpg").exists()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"other unfinished trainings stay in {tmp_path}: {killed.name}; the same options")
