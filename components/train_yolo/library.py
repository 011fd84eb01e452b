"""ultralytics, and everything that is set for it: the only module that imports it, and the others take it from here.

ultralytics (AGPL-3.0) reports usage, looks for the internet, installs packages, downloads weights and fonts, and writes
to the user's home by default. Here it does none of that:

- `YOLO_OFFLINE` and the settings turn off telemetry and every tracker; `YOLO_AUTOINSTALL` the installation of packages.
  The callbacks that report to services are not added at all.
- `YOLO_CONFIG_DIR` and `MPLCONFIGDIR` are a folder of this process, removed when it ends, or, where the process is
  killed, by the next one. It holds the font that plots are drawn with.
- What would download raises ConnectionError, but in `downloads_allowed`.
- `ULTRALYTICS_SAFE_LOAD` reads .pt files, which are pickles, with an allow-list of classes, but in `pickles_trusted`.

Its import changes torch.save, PIL.Image.open, how much is logged, warning filters, print options, the number of threads
of torch and OpenCV, and variables such as OMP_NUM_THREADS; these are put back. What a training needs of that,
`trainer_running` sets. The processes that it starts for several GPUs inherit the variables that are set here, and keep
what the import changes.
"""

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

_STARTED_BY_ULTRALYTICS = "LOCAL_RANK" in os.environ and "YOLO_CONFIG_DIR" in os.environ
_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")


_FOLDER = "facet-yolo-"
_LEAST_AGE = 60.0
"""Seconds after which a folder that nobody has locked is one of a process that was killed."""


def _set_environment() -> None:
    os.environ |= {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "0",
        "YOLO_VERBOSE": "0",
        "ULTRALYTICS_SAFE_LOAD": "1",
    }
    if _STARTED_BY_ULTRALYTICS:
        return
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        _remove_unused(left)
    folder = tempfile.mkdtemp(prefix=_FOLDER)
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)  # until the process ends
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["YOLO_CONFIG_DIR"] = folder
    os.environ.setdefault("MPLCONFIGDIR", folder)
    import matplotlib

    font, fonts = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), Path(folder, "Ultralytics")
    fonts.mkdir()
    for name in _FONTS:
        shutil.copyfile(font, fonts / name)


def _remove_unused(folder: Path) -> None:
    """Remove a folder unless a process has locked it, is just making it, or it is not ours."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - folder.stat().st_mtime > _LEAST_AGE:
                shutil.rmtree(folder)
        finally:
            os.close(descriptor)


_set_environment()
_environment, _torch_save, _image_open = dict(os.environ), torch.save, Image.open
_threads, _opencv_threads, _numpy_prints = torch.get_num_threads(), cv2.getNumThreads(), np.get_printoptions()

with warnings.catch_warnings():
    import ultralytics
    from ultralytics.cfg import DEFAULT_CFG_DICT
    from ultralytics.data import base, dataset
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.models.rtdetr.train import RTDETRTrainer
    from ultralytics.models.yolo.classify.train import ClassificationTrainer
    from ultralytics.models.yolo.detect.train import DetectionTrainer
    from ultralytics.nn import tasks
    from ultralytics.utils import LOGGER, SETTINGS, callbacks, downloads, torch_utils
    from ultralytics.utils.dist import generate_ddp_file

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
    "torch_utils",
    "trainer_running",
]

VERSION: str = ultralytics.__version__

_TRACKERS = ("sync", "clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
_download = downloads.safe_download


def _refuse_download(url: object, *_args: Any, **_options: Any) -> None:
    raise ConnectionError(f"nothing is downloaded unless download_weights is set: {url}")


def _no_reports(_instance: object) -> None:
    """Stands in for the function that adds the callbacks of analytics, the ultralytics platform and trackers."""


def _no_progress(*arguments: Any, **options: Any) -> Any:
    """Stands in for the progress bar of the cache of pictures, which is shown however little is logged."""
    return ultralytics.utils.TQDM(*arguments, **options | {"disable": True})


def _set_up() -> None:
    dict.update(SETTINGS, {name: False for name in _TRACKERS if name in SETTINGS})
    callbacks.add_integration_callbacks = _no_reports
    downloads.safe_download = _refuse_download
    base.TQDM = dataset.TQDM = _no_progress
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
    LOGGER.setLevel(logging.WARNING)
    LOGGER.propagate = True


def _put_back() -> None:
    torch.save, Image.open = _torch_save, _image_open
    torch.set_num_threads(_threads)
    torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]
    np.set_printoptions(**_numpy_prints)
    if _STARTED_BY_ULTRALYTICS:
        return
    cv2.setNumThreads(_opencv_threads)
    for name in os.environ.keys() - _environment.keys():
        del os.environ[name]


_set_up()
_put_back()


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
def trainer_running() -> Iterator[None]:
    """Let ultralytics train within the block, and wait at the end for the threads that it has drawn its plots in.

    OpenCV has no threads of its own meanwhile: the processes that load pictures are forked.
    """
    before, opencv = set(threading.enumerate()), cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The figure layout has changed to tight")
            yield
    finally:
        for thread in set(threading.enumerate()) - before:
            if not thread.daemon:
                thread.join()
        cv2.setNumThreads(opencv)
