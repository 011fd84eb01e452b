"""ultralytics reports nothing, fetches nothing and leaves nothing behind; its processes get all that they need."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from yolo_samples import config, write_dataset

from components.shared.training.resumable_folder import LAST, ResumableFolder
from components.train_yolo import library
from components.train_yolo.data import read_data, unpack
from components.train_yolo.record import Recorder
from components.train_yolo.trainers import new_trainer
from components.train_yolo.weights import read_description, start_description

HERE = Path(__file__).parent


def test_a_training_is_quiet_and_leaves_nothing_at_home(tmp_path: Path) -> None:
    for name in ("home", "work", "temporary", "out"):
        (tmp_path / name).mkdir()
    write_dataset(tmp_path / "data", train=6, val=3)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "XDG", "YOLO", "MPL"))},
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": f"{HERE}:{HERE.parents[2]}",
        "ULTRALYTICS_API_KEY": "ul_0123456789",
    }
    environment.pop("PYTEST_CURRENT_TEST", None)  # ultralytics would notice a test
    command = [
        sys.executable,
        str(HERE / "yolo_quiet.py"),
        *(str(tmp_path / name) for name in ("data", "out", "attempts")),
    ]
    ended = subprocess.run(command, env=environment, cwd=tmp_path / "work", capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads((tmp_path / "attempts").read_text()) == []
    for name in ("home", "work"):
        assert not list((tmp_path / name).iterdir()), name
    left = {path.name for path in (tmp_path / "temporary").iterdir()}
    assert not {name for name in left if not name.startswith("torchinductor_")}  # the export's, empty
    assert (tmp_path / "out/detect/ultralytics/results.png").exists()


IMPORT = """
import logging, os, warnings
import cv2, numpy, torch
from PIL import Image


def state():
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_", "ULTRALYTICS_"))}
    variables.pop("MPLCONFIGDIR", None)
    lists = [*warnings.filters], torch.tensor([1 / 3, 1e9]).__repr__(), numpy.array([1 / 3, 1e9]).__repr__(), variables
    return torch.save, Image.open, torch.get_num_threads(), cv2.getNumThreads(), logging.getLogger().level, *lists


import matplotlib.pyplot, torchvision  # they change the filters of warnings too
cv2.setNumThreads(3)
before = state()
from components.train_yolo import library
for was, now in zip(before, state(), strict=True):
    assert was == now, (was, now)
logger = logging.getLogger("ultralytics")
assert logger.propagate and not logger.handlers and logger.level == logging.WARNING
"""


def test_the_import_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """And removes the folder of a process that was killed."""
    left, used, new = (tmp_path / f"facet-yolo-{name}" for name in ("left", "used", "new"))
    for folder in (left, used, new):
        (folder / "Ultralytics").mkdir(parents=True)
    for folder in (left, used):
        os.utime(folder, (0, 0))
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", IMPORT], check=True, env=environment | {"TMPDIR": str(tmp_path)})
    os.close(descriptor)
    assert sorted(path for path in tmp_path.glob("facet-yolo-*")) == [new, used]


def test_a_download_is_an_error() -> None:
    with pytest.raises(ConnectionError, match="download_weights"):
        library.downloads.attempt_download_asset("yolo11n.pt")


def test_the_processes_of_several_gpus_get_trainer_and_callbacks(dataset: Path, tmp_path: Path) -> None:
    """What ultralytics hands to the processes that it starts; no GPU is here to start them for."""
    options = config(tmp_path)
    data = unpack(options, read_data(options, dataset / "images", dataset / "annotations.json"), tmp_path / "data")
    description = start_description(read_description(options.model), "detect", options.model)
    trainer: Any = new_trainer(options, description, data.address, tmp_path / "run", device="cpu", resume=False)
    folder = ResumableFolder(tmp_path, str(tmp_path / "state"), ("best.pt", "config.json"))
    Recorder(folder, "", {"x": 1}, data.address, 1).attach(trainer)
    trainer.model = trainer.get_model(cfg=description, weights=None)
    script = Path(library.generate_ddp_file(trainer))
    state = torch.load(script.with_suffix(".pt"), weights_only=False)
    script.unlink(), script.with_suffix(".pt").unlink()
    again = state["trainer"](
        cfg={**library.DEFAULT_CFG_DICT, "save_dir": ""}, overrides=state["args"], _callbacks=state["callbacks"]
    )
    again.model = state["model"]
    again.train()
    assert (tmp_path / LAST).exists() and (tmp_path / "state" / LAST).exists()
