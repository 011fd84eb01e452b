"""dlib's face detector and shape predictor on gray pictures."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.shared.dataset.annotations import Box
from components.shared.dataset.boxes import overlap
from components.shared.drawing import Points
from serving.runtime.errors import InputError
from serving.runtime.plausible import clip_box

Gray = NDArray[np.uint8]

DLIB_BOXES = {"face": (1.05, 0.0, 0.05), "points": (1.15, 0.0, -0.15)}
"""The square that dlib's detector would draw, by what a box encloses.

Its side as a multiple of the root of the box's area; how far its center lies right and below that of the box, as
shares of the box's width and height.
"""

_ALIGN_SIDE, _PREDICT_SIDE = 120, 256
_REACH = 2.0
_LEAST_OVERLAP = 0.3


@dataclass(frozen=True, slots=True)
class FaceLandmarks:
    """The points of one face; `box` is where it was found or the one given, `score` that of the detector."""

    box: Box
    score: float | None
    points: Points


class Landmarker:
    """Finds faces and their points. Threads may call it: each loads its own detector and predictor."""

    def __init__(self, weights: Path, *, upsample: int, threshold: float) -> None:
        self._weights, self._upsample, self._threshold = weights, upsample, threshold
        self._loaded = threading.local()

    def find(self, gray: Gray) -> list[FaceLandmarks]:
        """Find the faces in a picture, uint8 (H, W), the highest score first."""
        detector, predictor = self._tools()
        rects, scores, _ = detector.run(gray, self._upsample, self._threshold)
        boxes = [(_box(rect), float(score)) for rect, score in zip(rects, scores, strict=True)]
        clipped = [(clip_box(box, *gray.shape)[0], box, score) for box, score in boxes]
        return [
            FaceLandmarks(seen, score, _predict(predictor, gray, box))
            for seen, box, score in clipped
            if seen is not None
        ]

    def locate(self, gray: Gray, box: Box, kind: Literal["face", "points"]) -> FaceLandmarks:
        """Find the points of the face in a box.

        The predictor has learned where the points lie in the boxes of dlib's detector. So the detector looks for the
        face around the box, and its box is taken where both overlap; otherwise the square at which it would be, by
        `DLIB_BOXES`.

        Raises:
            InputError: the box lies outside the picture.
        """
        seen, _ = clip_box(box, *gray.shape)
        if seen is None:
            raise InputError(f"the box {box} lies outside the picture of {gray.shape[1]} x {gray.shape[0]} pixels")
        detector, predictor = self._tools()
        square = _dlib_box(seen, kind)
        return FaceLandmarks(box, None, _predict(predictor, gray, _align(detector, gray, square)))

    def _tools(self) -> tuple[Any, Any]:
        if not hasattr(self._loaded, "tools"):
            self._loaded.tools = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(self._weights))
        tools: tuple[Any, Any] = self._loaded.tools
        return tools


def _dlib_box(box: Box, kind: Literal["face", "points"]) -> Box:
    """Return the square that dlib's detector would draw around the face of a box."""
    x, y, width, height = box
    size, right, down = DLIB_BOXES[kind]
    side = size * (width * height) ** 0.5
    return x + width * (0.5 + right) - side / 2, y + height * (0.5 + down) - side / 2, side, side


def _align(detector: Any, gray: Gray, square: Box) -> Box:
    """Return the face that the detector finds around a square, or the square when it finds none."""
    view = _View(gray, square, _ALIGN_SIDE)
    found = [view.to_picture(_box(rect)) for rect in detector(view.pixels, 0)]
    best = max(found, key=lambda box: overlap(box, square), default=square)
    return best if overlap(best, square) >= _LEAST_OVERLAP else square


def _predict(predictor: Any, gray: Gray, box: Box) -> Points:
    """Return the points in the box of dlib's detector.

    dlib gives whole pixels, so it sees every face at one size: of a face of 20 pixels half a pixel is 5 % of the
    distance between the eyes.
    """
    view = _View(gray, box, _PREDICT_SIDE)
    x, y, width, height = view.to_view(box)
    rect = dlib.rectangle(round(x), round(y), round(x + width) - 1, round(y + height) - 1)
    parts = predictor(view.pixels, rect).parts()
    points = np.array([(part.x, part.y) for part in parts], dtype=np.float64)
    # Pixels have their middle at whole numbers, and boxes their borders.
    located: Points = (points + 0.5) / view.scale + view.origin - 0.5
    return located


class _View:
    """The part of a picture around a square, resized so that the square measures `side` pixels."""

    def __init__(self, gray: Gray, square: Box, side: int) -> None:
        x, y, length, _ = square
        margin = length * (_REACH - 1) / 2
        height, width = gray.shape
        left, top = max(0.0, x - margin), max(0.0, y - margin)
        right, bottom = min(float(width), x + length + margin), min(float(height), y + length + margin)
        size = max(1, round((right - left) * side / length)), max(1, round((bottom - top) * side / length))
        self.origin = np.array([left, top])
        self.scale = np.array(size) / [right - left, bottom - top]
        self.pixels = np.asarray(
            Image.fromarray(gray).resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
        )

    def to_view(self, box: Box) -> Box:
        (x, y), (width, height) = (np.array(box[:2]) - self.origin) * self.scale, np.array(box[2:]) * self.scale
        return float(x), float(y), float(width), float(height)

    def to_picture(self, box: Box) -> Box:
        (x, y), (width, height) = np.array(box[:2]) / self.scale + self.origin, np.array(box[2:]) / self.scale
        return float(x), float(y), float(width), float(height)


def _box(rect: Any) -> Box:
    return float(rect.left()), float(rect.top()), float(rect.width()), float(rect.height())
