"""Cropping the faces of a data set: how it grows with the cores."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.benchmark import Benchmark, own_process
from benchmarks.photos import write_photos
from components.crop_faces.crop_faces import crop_faces

PHOTOS = 160
REPEATS = 5
CORES = 2


def crop_cores() -> list[Benchmark]:
    """Photos of 384 x 512 pixels to lossless crops with the photos' pixels: with two cores, over one of them.

    Every pass is a process of its own that may use that many cores; those with two and with one take turns.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_photos(folder, PHOTOS)
        cores = sorted(os.sched_getaffinity(0))[:CORES]
        turns = [(_rate(folder, cores), _rate(folder, cores[number % len(cores) :][:1])) for number in range(REPEATS)]
    two, one = (statistics.median(rates) for rates in zip(*turns, strict=True))
    return [Benchmark.compared("crop_cores", two, one, "photos/s", 1.8)]


def _rate(folder: Path, cores: list[int]) -> float:
    with own_process() as process:
        return process.submit(_crop, folder, cores).result()


def _crop(folder: Path, cores: list[int]) -> float:
    """Photos a second on the given cores, without the start of the process."""
    os.sched_setaffinity(0, cores)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        started = time.perf_counter()
        crop_faces(folder / "images", folder / "annotations.json", Path(output, "crops"), {})
        return PHOTOS / (time.perf_counter() - started)
