"""ultralytics, and everything that is set for it: the only module that imports it, and the others take it from here.

ultralytics (AGPL-3.0) reports usage, looks for the internet, installs packages, downloads weights and fonts, and writes
to the user's home by default. Here it does none of that:

- `YOLO_OFFLINE` and the settings turn off telemetry and every tracker; `YOLO_AUTOINSTALL` the installation of packages.
  The callbacks that report to services are not added at all.
- `YOLO_CONFIG_DIR` and `MPLCONFIGDIR` are a folder of this process, removed when it ends. It holds the font that plots
  are drawn with.
- What would download raises ConnectionError, but in `downloads_allowed`.
- `ULTRALYTICS_SAFE_LOAD` reads .pt files, which are pickles, with an allow-list of classes, but in `pickles_trusted`.

Its import changes torch.save, how much is logged, and the number of threads; these are put back. The processes that it
starts for several GPUs inherit the environment.
"""

import atexit
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

_STARTED_BY_ULTRALYTICS = "LOCAL_RANK" in os.environ and "YOLO_CONFIG_DIR" in os.environ
_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")


def _set_environment() -> None:
    os.environ |= {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "0",
        "YOLO_VERBOSE": "0",
        "ULTRALYTICS_SAFE_LOAD": "1",
    }
    if _STARTED_BY_ULTRALYTICS:
        return
    folder = tempfile.mkdtemp(prefix="facet-yolo-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["YOLO_CONFIG_DIR"] = folder
    os.environ.setdefault("MPLCONFIGDIR", folder)
    import matplotlib

    font, fonts = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), Path(folder, "Ultralytics")
    fonts.mkdir()
    for name in _FONTS:
        shutil.copyfile(font, fonts / name)


_set_environment()
_torch_save, _threads = torch.save, torch.get_num_threads()

import ultralytics  # noqa: E402
from ultralytics.cfg import DEFAULT_CFG_DICT  # noqa: E402
from ultralytics.engine.trainer import BaseTrainer  # noqa: E402
from ultralytics.models.rtdetr.train import RTDETRTrainer  # noqa: E402
from ultralytics.models.yolo.classify.train import ClassificationTrainer  # noqa: E402
from ultralytics.models.yolo.detect.train import DetectionTrainer  # noqa: E402
from ultralytics.nn import tasks  # noqa: E402
from ultralytics.utils import LOGGER, SETTINGS, callbacks, downloads, torch_utils  # noqa: E402
from ultralytics.utils.dist import generate_ddp_file  # noqa: E402

__all__ = [
    "DEFAULT_CFG_DICT",
    "VERSION",
    "BaseTrainer",
    "ClassificationTrainer",
    "DetectionTrainer",
    "RTDETRTrainer",
    "downloads",
    "downloads_allowed",
    "generate_ddp_file",
    "pickles_trusted",
    "tasks",
    "threads_joined",
    "torch_utils",
]

VERSION: str = ultralytics.__version__

_TRACKERS = ("sync", "clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
_download = downloads.safe_download


def _refuse_download(url: object, *_args: Any, **_options: Any) -> None:
    raise ConnectionError(f"nothing is downloaded unless download_weights is set: {url}")


def _no_reports(_instance: object) -> None:
    """Stands in for the function that adds the callbacks of analytics, the ultralytics platform and trackers."""


def _set_up() -> None:
    dict.update(SETTINGS, {name: False for name in _TRACKERS if name in SETTINGS})
    callbacks.add_integration_callbacks = _no_reports
    downloads.safe_download = _refuse_download
    torch.save = _torch_save
    torch.set_num_threads(_threads)
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
    LOGGER.setLevel(logging.WARNING)
    LOGGER.propagate = True


_set_up()


@contextmanager
def downloads_allowed() -> Iterator[None]:
    """Let ultralytics download within the block."""
    downloads.safe_download = _download
    try:
        yield
    finally:
        downloads.safe_download = _refuse_download


@contextmanager
def pickles_trusted() -> Iterator[None]:
    """Read .pt files without the allow-list of classes within the block: what is in them is run."""
    tasks.SAFE_LOAD = False
    try:
        yield
    finally:
        tasks.SAFE_LOAD = True


@contextmanager
def threads_joined() -> Iterator[None]:
    """Wait at the end for the threads that the block has started: ultralytics draws its plots in some."""
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            if not thread.daemon:
                thread.join()
