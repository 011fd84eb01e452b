"""What a KFP step costs beyond its own work, and what a training spends beside its arithmetic.

That of a training is within an epoch, and before the first one.
"""

import contextlib
import io
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
STEPS = 5


def step_overhead() -> list[Benchmark]:
    """Ours is one step in a chain of steps that do next to nothing; the baseline is a process that does the same."""
    import kfp
    from kfp import compiler, dsl, local

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def add_one(number: int) -> int:
        return number + 1

    @dsl.pipeline(name="chain")
    def chain() -> None:
        number: object = 0
        for _ in range(STEPS):
            number = add_one(number=number).output

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        compiler.Compiler().compile(chain, str(file := Path(folder, "chain.yaml")))
        pipeline = kfp.components.load_component_from_text(file.read_text())
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder)
        started = time.perf_counter()
        pipeline()
        ours = (time.perf_counter() - started) / STEPS
    command = [sys.executable, "-c", "print(0 + 1)"]
    baseline = median(seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(STEPS))
    holds = ours - baseline < 2
    return [Benchmark("step_overhead", ours, baseline, ours / baseline, "s", "ours - baseline < 2 s", holds)]


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
        command = [sys.executable, "-m", "benchmarks.overhead", scratch]
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
