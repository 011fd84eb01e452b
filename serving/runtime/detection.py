"""Detection around the graph: where a photo lies in the input, which candidates are faces, and where they are in it.

Boxes are left, top, right, bottom here, as in `DetectionCard`.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import DetectionThresholds, InputSize, Letterbox
from serving.runtime.errors import InputError
from serving.runtime.image.header import Rect

Floats = NDArray[np.float32]
FloatT = TypeVar("FloatT", np.float32, np.float64)

MAX_CANDIDATES = 5000
"""As many candidates of one photo, those of the highest scores, are compared with each other."""

MAX_TILES = 64
"""A photo is cut into at most as many tiles: they become larger instead."""

_OVERLAP = 0.25
"""Share of a tile's sides that its neighbor shows too."""

_CUT = 2.0
"""A box whose side is within as many input pixels of a tile's border is taken to be cut there."""


@dataclass(frozen=True, slots=True)
class LetterboxedPart:
    """Where a part of a photo lies in a detector's input.

    Attributes:
        rect: the part, in upright pixels of the photo.
        target: left, top, width and height of its pixels in the input.
        size: height and width of the input.
    """

    rect: Rect
    target: tuple[int, int, int, int]
    size: tuple[int, int]

    def to_photo(self, xy: Floats) -> Floats:
        """Map x, y in the last axis from input pixels to upright pixels of the photo."""
        left, top, right, bottom = self.rect
        x, y, width, height = self.target
        scale = np.array([(right - left) / width, (bottom - top) / height], np.float32)
        return (xy - np.array([x, y], np.float32)) * scale + np.array([left, top], np.float32)

    def inner_borders(self, upright: tuple[int, int]) -> Floats:
        """Return left, top, right, bottom of the part in input pixels, infinite where it ends with the photo."""
        left, top, right, bottom = self.rect
        x, y, width, height = self.target
        return np.array(
            [
                x if left > 0 else -math.inf,
                y if top > 0 else -math.inf,
                x + width if right < upright[1] else math.inf,
                y + height if bottom < upright[0] else math.inf,
            ],
            np.float32,
        )


def letterbox(rect: Rect, rule: Letterbox, size: InputSize, *, enlarge: float = 1.0) -> LetterboxedPart:
    """Return where a rectangle of a photo lies in the input.

    Args:
        rect: left, top, right, bottom in upright pixels.
        rule: how photos are placed.
        size: the input; the largest one for a rule with a stride.
        enlarge: for a rule with a stride and without `enlarge`: the most that the rectangle is scaled.
    """
    if rule.stretch:
        return LetterboxedPart(rect, (0, 0, size.width, size.height), (size.height, size.width))
    width, height = rect[2] - rect[0], rect[3] - rect[1]
    scale = min(size.height / height, size.width / width)
    if rule.stride is not None and not rule.enlarge:
        scale = min(scale, enlarge)
    # A side of less than half a pixel is still one pixel.
    target_width = min(max(1, round(width * scale)), size.width)
    target_height = min(max(1, round(height * scale)), size.height)
    input_height, input_width = size.height, size.width
    if rule.stride is not None:
        input_height = -(-target_height // rule.stride) * rule.stride
        input_width = -(-target_width // rule.stride) * rule.stride
    x = y = 0
    if rule.position == "center":
        x, y = (input_width - target_width) // 2, (input_height - target_height) // 2
    return LetterboxedPart(rect, (x, y, target_width, target_height), (input_height, input_width))


def tiles(upright: tuple[int, int], tile: int, size: InputSize) -> list[Rect]:
    """Return the overlapping tiles of a photo, of one size; none where one would show all of it.

    Args:
        upright: height and width of the photo.
        tile: the longer side of a tile in pixels of the photo; a tile has the aspect ratio of `size`. More than
            MAX_TILES become larger.
        size: the input that a tile will fill.
    """
    tile_height, tile_width = (tile * side / max(size.height, size.width) for side in (size.height, size.width))
    while True:
        tops, lefts = _starts(upright[0], tile_height), _starts(upright[1], tile_width)
        if len(tops) * len(lefts) <= MAX_TILES:
            break
        tile_height, tile_width = tile_height * 1.1, tile_width * 1.1
    if len(tops) * len(lefts) == 1:
        return []
    height, width = min(tile_height, upright[0]), min(tile_width, upright[1])
    return [(left, top, left + width, top + height) for top in tops for left in lefts]


def _starts(length: int, tile: float) -> list[float]:
    """Return where the tiles along one side begin: evenly spread, overlapping by at least _OVERLAP."""
    if tile >= length:
        return [0.0]
    count = 1 + math.ceil((length - tile) / (tile * (1 - _OVERLAP)))
    return [float(start) for start in np.linspace(0, length - tile, count)]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of one photo: boxes (n, 4), scores per label (n, C) and points (n, P, 2) in upright pixels."""

    boxes: Floats
    scores: Floats
    points: Floats

    @classmethod
    def joined(cls, parts: "list[Candidates]") -> "Candidates":
        """Return the candidates of several parts of a photo as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "points")))


def candidates(
    boxes: Floats, scores: Floats, points: Floats, part: LetterboxedPart, upright: tuple[int, int], threshold: float
) -> Candidates:
    """Choose the candidates of one input that may be faces, in pixels of the photo.

    These are the MAX_CANDIDATES best of those whose best score is `threshold` or more. A box without area or outside
    the part's pixels is none; neither is one that a border inside the photo cuts, which another part shows whole.

    Args:
        boxes: (A, 4) in input pixels.
        scores: (A, C) in 0..1.
        points: (A, P, 2) in input pixels.
        part: where the part lies in the input.
        upright: height and width of the photo.
        threshold: lowest score.

    Raises:
        InputError: a score is NaN or outside 0..1, or a number of a candidate is not finite.
    """
    if not np.all((scores >= 0) & (scores <= 1)):  # also true for NaN
        raise InputError("its graph gives scores that are not in 0..1")
    best = scores.max(axis=1)
    chosen = np.flatnonzero(best >= threshold)
    chosen = chosen[np.argsort(-best[chosen], kind="stable")[:MAX_CANDIDATES]]
    boxes, scores, points = boxes[chosen], scores[chosen], points[chosen]
    if not np.isfinite(boxes).all() or not np.isfinite(points).all():
        raise InputError("its graph gives boxes or points that are not finite numbers")
    x, y, width, height = part.target
    borders = part.inner_borders(upright)
    whole = np.all(boxes[:, :2] >= borders[:2] + _CUT, axis=1) & np.all(boxes[:, 2:] <= borders[2:] - _CUT, axis=1)
    inside = np.all((boxes[:, 2:] > (x, y)) & (boxes[:, :2] < (x + width, y + height)), axis=1)
    faces = np.all(boxes[:, :2] < boxes[:, 2:], axis=1) & inside & whole
    corners = part.to_photo(boxes[faces].reshape(-1, 2, 2)).reshape(-1, 4)
    return Candidates(corners, scores[faces], part.to_photo(points[faces]))


def choose(found: Candidates, thresholds: DetectionThresholds, upright: tuple[int, int]) -> Candidates:
    """Return the faces among the candidates, by falling score, their boxes clipped to the photo.

    A candidate has the label of its highest score; those of one label suppress each other.
    """
    best, labels = found.scores.max(axis=1), found.scores.argmax(axis=1)
    kept = suppress(found.boxes, best, labels, thresholds)
    return Candidates(clip(found.boxes[kept], upright), found.scores[kept], found.points[kept])


def suppress(
    boxes: Floats, scores: Floats, labels: NDArray[np.intp], thresholds: DetectionThresholds
) -> NDArray[np.intp]:
    """Return which boxes stay after greedy non-maximum suppression, by falling score, at most `max_detections`.

    Of boxes of one label that overlap by more than `nms_iou` the one of the highest score stays. The MAX_CANDIDATES
    best are compared.

    Args:
        boxes: (n, 4).
        scores: (n,).
        labels: (n,), indices.
        thresholds: `nms_iou` and `max_detections`.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    kept: list[int] = []
    while len(order) and len(kept) < thresholds.max_detections:
        first, order = order[0], order[1:]
        kept.append(first)
        same = labels[order] == labels[first]
        iou = pairwise_iou(boxes[first : first + 1], boxes[order])[0]
        order = order[~same | (iou <= thresholds.nms_iou)]
    return np.array(kept, np.intp)


def clip(boxes: Floats, upright: tuple[int, int]) -> Floats:
    """Return boxes (n, 4) clipped to a photo of height and width `upright`."""
    height, width = upright
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def corners(boxes: NDArray[FloatT]) -> NDArray[FloatT]:
    """Return boxes x, y, width, height, (n, 4), as left, top, right, bottom."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def pairwise_iou(first: NDArray[FloatT], second: NDArray[FloatT]) -> NDArray[FloatT]:
    """Return the intersection over union, (n, m), of boxes (n, 4) and (m, 4), left, top, right, bottom.

    It is 0 for two boxes without an area.
    """
    sides = np.minimum(first[:, None, 2:], second[:, 2:]) - np.maximum(first[:, None, :2], second[:, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1] - shared
    iou: NDArray[FloatT] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou
