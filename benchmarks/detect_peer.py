"""Finding the faces of many photos: the step detect_faces against OpenCV in a loop."""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from benchmarks.benchmark import Benchmark, seconds
from components.detect_faces.adopt import adopt_detectors
from components.detect_faces.detect import detect_faces
from components.shared import cache
from components.shared.dataset.archive import ArchiveWriter

WEIGHTS = "weights/yunet/yunet_n_dynamic.onnx"
PHOTOS = 200
REPEATS = 7

_SCORE, _NMS_IOU, _CANDIDATES = 0.7, 0.3, 5000


def detect_peer() -> list[Benchmark]:
    """YuNet on photos of `faces_det`, from files to faces: `detect_faces` against OpenCV's `FaceDetectorYN` in a loop.

    Our files are in an image archive, as a pipeline has them; ours also opens the detector and writes what it found.
    Both have the same weights and thresholds and find the same faces. OpenCV computes with as many threads as there are
    cores. FACET_PHOTOS names the folder of photos and weights; without it nothing is measured.
    """
    folder = os.environ.get("FACET_PHOTOS")
    if not folder:
        print("detect_peer: FACET_PHOTOS is not set, so nothing is measured", file=sys.stderr)
        return []
    files = sorted(Path(folder, "faces_det", "images").glob("*.jpg"))
    files = files[:: max(1, len(files) // PHOTOS)]
    os.environ.pop(cache.VARIABLE, None)  # with a cache only the first pass would search
    with tempfile.TemporaryDirectory() as scratch:
        wall, processor = _times(ours(files, Path(folder, WEIGHTS), Path(scratch)), peer(files, Path(folder, WEIGHTS)))
    per_second = [len(files) / median for median in wall]
    per_photo = [1000 * median / len(files) for median in processor]
    return [
        Benchmark.compared("detect_peer", per_second[0], per_second[1], "photos/s", 1.3),
        Benchmark.compared("detect_peer: processor time", per_photo[0], per_photo[1], "ms/photo"),
    ]


def _times(*sides: Callable[[], int]) -> tuple[list[float], list[float]]:
    """Return the median seconds of each side, on the wall clock and of processor time; they take turns."""
    found = [side() for side in sides]  # the first pass over the photos is not measured
    assert abs(found[0] - found[1]) <= 0.01 * found[1], found
    wall: list[list[float]] = [[] for _ in sides]
    processor: list[list[float]] = [[] for _ in sides]
    for _ in range(REPEATS):
        for side, walls, computed in zip(sides, wall, processor, strict=True):
            before = time.process_time()
            walls.append(seconds(side))
            computed.append(time.process_time() - before)
    return [statistics.median(times) for times in wall], [statistics.median(times) for times in processor]


def ours(files: Sequence[Path], weights: Path, work: Path) -> Callable[[], int]:
    """Return what searches all files, stored below the folder `work` first, and counts the faces, on all cores."""
    with ArchiveWriter(work / "images") as archive:
        for file in files:
            archive.add(file.name, file.read_bytes())
    adopt_detectors(work / "detectors", [{"onnx": {"model": str(weights), "name": "yunet", "score": _SCORE}}])

    def search() -> int:
        counts = detect_faces(work / "images", work / "detectors", work / "found.jsonl")
        return int(counts["faces"] + counts["implausible"])

    return search


def peer(files: Sequence[Path], weights: Path) -> Callable[[], int]:
    """Return what does the same with OpenCV, one photo after another."""
    detector = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), _SCORE, _NMS_IOU, _CANDIDATES)

    def search() -> int:
        count = 0
        for file in files:
            pixels = cv2.imread(str(file))
            assert pixels is not None, file
            height, width = pixels.shape[:2]
            detector.setInputSize((width, height))
            faces = detector.detect(pixels)[1]
            count += 0 if faces is None else len(faces)
        return count

    return search
