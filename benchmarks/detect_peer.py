"""Finding the faces of many photos: our detector on all cores against OpenCV's in a loop."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from benchmarks.benchmark import Benchmark, seconds
from components.shared.models.adopt import adopt, fetch_weights
from serving.runtime.detector import Detector, detect_many
from serving.runtime.load import open_model

WEIGHTS = "weights/yunet/yunet_n_dynamic.onnx"
PHOTOS = 200
REPEATS = 7

_SCORE, _NMS_IOU, _CANDIDATES = 0.7, 0.3, 5000


def detect_peer() -> list[Benchmark]:
    """YuNet on photos of `faces_det`, from files to faces: `detect_many` against OpenCV's `FaceDetectorYN` in a loop.

    Both have the same weights and thresholds and find the same faces. OpenCV computes with as many threads as there are
    cores. FACET_PHOTOS names the folder of photos and weights; without it nothing is measured.
    """
    folder = os.environ.get("FACET_PHOTOS")
    if not folder:
        print("detect_peer: FACET_PHOTOS is not set, so nothing is measured", file=sys.stderr)
        return []
    files = sorted(Path(folder, "faces_det", "images").glob("*.jpg"))
    files = files[:: max(1, len(files) // PHOTOS)]
    sides = ours(files, Path(folder, WEIGHTS)), peer(files, Path(folder, WEIGHTS))
    found = [side() for side in sides]  # the first pass over the photos is not measured
    assert abs(found[0] - found[1]) <= 0.01 * found[1], found
    wall: list[list[float]] = [[], []]
    processor: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        for side, walls, computed in zip(sides, wall, processor, strict=True):
            before = time.process_time()
            walls.append(seconds(side))
            computed.append(time.process_time() - before)
    per_second = [len(files) / statistics.median(times) for times in wall]
    per_photo = [1000 * statistics.median(times) / len(files) for times in processor]
    return [
        Benchmark.compared("detect_peer", per_second[0], per_second[1], "photos/s", 1.3),
        Benchmark.compared("detect_peer: processor time", per_photo[0], per_photo[1], "ms/photo"),
    ]


def ours(files: Sequence[Path], weights: Path) -> Callable[[], int]:
    """Return what searches all files and counts the faces, on all cores."""
    content = adopt(fetch_weights(str(weights)), str(weights), name="yunet", options={"score": _SCORE}).content
    detector = open_model(content, threads=1)
    assert isinstance(detector, Detector)

    def search() -> int:
        results = detect_many(lambda photo: detector.detect([photo])[0], files, Path.read_bytes)
        return sum(len(faces) for _, faces in results if isinstance(faces, list))

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
