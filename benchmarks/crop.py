"""Cropping the faces of a data set: how it grows with the cores, and against a loop over the photos."""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from benchmarks.benchmark import Benchmark, medians, own_process
from benchmarks.detect_peer import WEIGHTS
from benchmarks.photos import write_photos
from components.crop_faces.crop_faces import crop_faces
from components.detect_faces.adopt import adopt_detectors
from components.detect_faces.choose import choose_faces
from components.detect_faces.detect import detect_faces
from components.shared.dataset.archive import ArchiveWriter
from serving.runtime.detector import Detector
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model

PHOTOS = 160
REPEATS = 5
CORES = 2
SIDE = 224

_ENLARGED = 4
_EVERY = 8


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


def crop_loop() -> list[Benchmark]:
    """Crops of the best face of every photo: detect_faces, choose_faces and crop_faces against a loop.

    The loop decodes a photo with Pillow, calls the same detector and writes a PNG of the same size, one photo after
    another. The photos are every eighth of `faces_det`, enlarged four times, to what phones take: 1,200 to 2,560 pixels
    wide. FACET_PHOTOS names the folder of photos and weights; without it nothing is measured.
    """
    folder = os.environ.get("FACET_PHOTOS")
    if not folder:
        print("crop_loop: FACET_PHOTOS is not set, so nothing is measured", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        adopt_detectors(work / "detectors", [{"onnx": str(Path(folder, WEIGHTS))}])
        files = _enlarged(sorted(Path(folder, "faces_det", "images").glob("*.jpg"))[::_EVERY], work / "files")
        with ArchiveWriter(work / "images") as archive:
            for file in files:
                archive.add(file.name, file.read_bytes())
        detector = load_model(str(next((work / "detectors").glob("*/model.onnx"))))
        assert isinstance(detector, Detector)
        ours, loop = medians(lambda: _by_steps(work), lambda: _by_loop(files, detector, work), repeats=REPEATS)
    return [Benchmark.compared("crop_loop", len(files) / ours, len(files) / loop, "photos/s", 2.0)]


def _enlarged(files: list[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    for file in files:
        with Picture.open(file) as picture:
            picture.resize((picture.width * _ENLARGED, picture.height * _ENLARGED)).save(folder / file.name, quality=90)
    return sorted(folder.iterdir())


def _by_steps(work: Path) -> None:
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        written = Path(scratch)
        detect_faces(work / "images", work / "detectors", written / "detections")
        annotations = written / "annotations.json"
        choose_faces(
            work / "images",
            [written / "detections"],
            annotations,
            written / "listing.json",
            written / "page.html",
            options={"per_class": 0},
        )
        crop_faces(work / "images", annotations, written / "crops", {"height": SIDE, "width": SIDE, "scale": 1.3})


def _by_loop(files: list[Path], detector: Detector, work: Path) -> None:
    with tempfile.TemporaryDirectory(dir=work) as output:
        for file in files:
            picture = Picture.open(file).convert("RGB")
            faces = detector.detect([Photo.of_pixels(np.asarray(picture))])[0]
            if faces and faces[0].box:
                x, y, width, height = faces[0].box
                side = 1.3 * max(width, height)
                left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
                cut = picture.crop((round(left), round(top), round(left + side), round(top + side)))
                cut.resize((SIDE, SIDE), Picture.Resampling.BILINEAR).save(Path(output, f"{file.stem}.png"))
