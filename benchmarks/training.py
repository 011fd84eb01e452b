"""What a training spends beside its arithmetic: within an epoch, and before the first one."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks.benchmark import Benchmark, seconds
from benchmarks.photos import write_photos
from components.train_classifier import loop
from components.train_classifier import train as training
from components.train_classifier.config.training import resolve_config

PHOTOS = 600
STARTS = 3


def epoch_compute_share() -> list[Benchmark]:
    """The share of an epoch's time that goes into forward, backward and the optimizer's step; waiting is the rest.

    The network is a ResNet-18, its pictures have 128 x 128 pixels.
    """
    spent = {"epoch": 0.0, "steps": 0.0}

    def timed(name: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - started

        return call

    with (
        tempfile.TemporaryDirectory() as scratch,
        patch.object(loop, "take_step", timed("steps", loop.take_step)),
        patch.object(training, "train_epoch", timed("epoch", loop.train_epoch)),
    ):
        write_photos(Path(scratch), PHOTOS)
        _train(Path(scratch))
    share = spent["steps"] / spent["epoch"]
    return [Benchmark.absolute("epoch_compute_share", share, "", ">= 0.9", share >= 0.9)]


def train_startup() -> list[Benchmark]:
    """From the start of the process, imports included, to the first batch at the network's door; a median."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "benchmarks.training", scratch]
        write_photos(Path(scratch), PHOTOS)
        took = median(seconds(lambda: subprocess.run(command, check=True)) for _ in range(STARTS))
    return [Benchmark.absolute("train_startup", took, "s", "< 8 s", took < 8)]


def _train(folder: Path) -> None:
    with patch.dict(os.environ):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        config = resolve_config({"label_space": "mask", "image_height": 128, "image_width": 128, "epochs": 1})
        training.train(config, folder / "images", folder / "annotations.json", folder / "checkpoints")


if __name__ == "__main__":
    with patch.object(loop, "take_step", side_effect=SystemExit(0)):
        _train(Path(sys.argv[1]))
