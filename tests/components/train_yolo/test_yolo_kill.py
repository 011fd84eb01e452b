"""A training that is killed continues where it was, whatever it was doing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from yolo_process import PLACES

HERE = Path(__file__).parent
OPTIONS = {"epochs": 3, "nbs": 8, "optimizer": "Adam", "lr": 0.01, "warmup_epochs": 0.0}


def run(dataset: Path, output: Path, place: str, **options: object) -> int:
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parents[2]}"}
    command = [sys.executable, str(HERE / "yolo_process.py"), str(dataset), str(output), json.dumps(OPTIONS | options)]
    return subprocess.run([*command, place, "2"], env=environment).returncode


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_killed_training_continues(place: str, dataset: Path, tmp_path: Path) -> None:
    assert run(dataset, tmp_path / "out", place) == -signal.SIGKILL
    assert not (tmp_path / "out").exists() and (tmp_path / "out_onnx").exists() == (place == "after_the_export")
    (unfinished,) = tmp_path.glob(".out.*.unfinished")
    before = unfinished / "ultralytics/results.csv"
    kept = before.read_text().splitlines()[1:] if (unfinished / "last.pt").exists() else []
    assert run(dataset, tmp_path / "out", "") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out_onnx"}
    history = json.loads((tmp_path / "out/history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    results = (tmp_path / "out/ultralytics/results.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in results] == ["epoch", "1", "2", "3"]
    continued = {"while_unpacking": 0, "while_ultralytics_writes": 1, "while_copying": 1, "between_last_and_best": 2}
    count = continued.get(place, 3)
    assert results[1 : count + 1] == kept[:count]
    assert not list((tmp_path / "out").glob(".*")) and not (tmp_path / "out/ultralytics/weights").exists()


@pytest.mark.slow
def test_a_killed_training_continues_elsewhere(dataset: Path, tmp_path: Path) -> None:
    """Another output folder, as on another machine, that knows `state` alone."""
    state = str(tmp_path / "state")
    assert run(dataset, tmp_path / "here", "while_ultralytics_writes", state=state) == -signal.SIGKILL
    assert run(dataset, tmp_path / "there", "", state=state) == 0
    assert [row["epoch"] for row in json.loads((tmp_path / "there/history.json").read_text())] == [1, 2, 3]
    assert not list((tmp_path / "state").rglob("*.pt"))
