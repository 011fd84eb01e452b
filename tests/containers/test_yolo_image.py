"""A training with ultralytics in its image: without a network, with a read-only root, as any user."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from yolo_samples import config, write_dataset

import docker

pytestmark = pytest.mark.containers
TRAINING = """
import json, sys
from pathlib import Path
from components.train_yolo.config import resolve_config
from components.train_yolo.train import train

data, out = map(Path, sys.argv[1:3])
result = train(resolve_config(json.loads(sys.argv[3])), data / "images", data / "annotations.json", out / "checkpoints",
               out / "exported", name="drawn")
kept = sorted(path.name for path in (out / "checkpoints").iterdir())
print(json.dumps({"sha256": result.sha256, "difference": result.max_difference, "kept": kept}))
"""
IN_CONTAINER = """
import json, subprocess, sys
from pathlib import Path

training, data, options = sys.argv[1:]
subprocess.run([sys.executable, "-c", training, data, "/tmp/out", options], check=True)
files = (path for path in Path("/tmp").rglob("*") if path.is_file())
print(json.dumps([str(path) for path in files if not str(path).startswith(("/tmp/out/", data + "/"))]))
"""
"""Says after a training what it has left in the only folder that can be written."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    write_dataset(folder)
    folder.chmod(0o755)
    return folder


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_it_trains_without_a_network_as_any_user_and_as_in_a_process(
    ask: Any, data: Path, tmp_path: Path, task: str
) -> None:
    options = config(data, task=task, plots=True).model_dump(mode="json", exclude_defaults=True)
    where = docker.types.Mount(str(data), str(data), type="bind", read_only=True)
    said = ask(
        "yolo", "python", "-c", IN_CONTAINER, TRAINING, str(data), json.dumps(options),
        user="54321:0", network_mode="none", mounts=[where], environment={"OMP_NUM_THREADS": "1"}, stderr=False,
    )  # fmt: skip
    inside, left = map(json.loads, said.splitlines()[-2:])
    assert left == []
    assert {"best.pt", "last.pt", "config.json", "history.json", "tensorboard", "ultralytics"} <= set(inside["kept"])
    assert inside["difference"] < 1e-3
    process = subprocess.run(
        [sys.executable, "-c", TRAINING, str(data), str(tmp_path / "out"), json.dumps(options)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(process.stdout.splitlines()[-1]) == inside
