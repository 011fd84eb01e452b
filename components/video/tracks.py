"""Numbers for the faces of a video: a face keeps its number from frame to frame, by the overlap of its boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from serving.runtime.image.preprocess import Box

_Boxes = NDArray[np.float64]


@dataclass(slots=True)
class _Track:
    """A face: its last box (left, top, right, bottom), when that was seen, and how it moved, in pixels per second."""

    number: int
    box: _Boxes
    seen: float
    velocity: _Boxes | None = None

    def boxes_at(self, time: float) -> _Boxes:
        """Where the face may be: where it was, and where it would be had it kept moving. (2, 4)."""
        moved = 0.0 if self.velocity is None else np.tile(self.velocity, 2) * (time - self.seen)
        return np.stack([self.box, self.box + moved])

    def move(self, box: _Boxes, time: float) -> None:
        """Take the box of a later frame. The velocity is the mean of the last one and of the one before."""
        if time > self.seen:
            velocity = (_center(box) - _center(self.box)) / (time - self.seen)
            self.velocity = velocity if self.velocity is None else (self.velocity + velocity) / 2
        self.box, self.seen = box, time


class Tracker:
    """Gives each face of a frame the number that it had in the frames before, or a new one; from 1 on, none twice.

    The faces of a frame are assigned to the known ones so that the sum of the overlaps is as large as it can be
    (Hungarian algorithm). A known face counts with its last box and with that box moved on, whichever overlaps more:
    so faces that cross keep their numbers, and so does one that comes back to where it was.

    Attributes:
        count: how many numbers were given.

    Args:
        iou: lowest overlap (intersection over union), 0..1.
        memory: seconds for which a face is known that is not seen; one of the frame before always is.
    """

    def __init__(self, *, iou: float, memory: float) -> None:
        self._iou = iou
        self._memory = memory
        self._tracks: list[_Track] = []
        self.count = 0
        self._last = 0.0

    def update(self, time: float, boxes: Sequence[Box]) -> list[int]:
        """Return the numbers of the faces of the next frame.

        Args:
            time: of the frame in seconds; frames come in order.
            boxes: left, top, width, height of each face in pixels.
        """
        self._tracks = [
            track for track in self._tracks if track.seen >= self._last or time - track.seen <= self._memory
        ]
        self._last = time
        corners = np.array(boxes, np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        places = np.array([track.boxes_at(time) for track in self._tracks]).reshape(-1, 2, 1, 4)
        overlaps = iou(places, corners).max(axis=1)
        overlaps[overlaps < self._iou] = 0
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        track_of = {column: self._tracks[row] for row, column in pairs if overlaps[row, column] > 0}
        numbers = []
        for column, box in enumerate(corners):
            track = track_of.get(column)
            if track is None:
                self.count += 1
                track = _Track(self.count, box, time)
                self._tracks.append(track)
            track.move(box, time)
            numbers.append(track.number)
        return numbers


def iou(boxes: _Boxes, others: _Boxes) -> _Boxes:
    """Return the intersection over union of boxes (left, top, right, bottom), by numpy's broadcasting; 0 without area."""
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    union = _area(boxes) + _area(others) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _area(boxes: _Boxes) -> _Boxes:
    area: _Boxes = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
    return area


def _center(box: _Boxes) -> _Boxes:
    return (box[:2] + box[2:]) / 2
