"""Numbers for the faces of a video: a face keeps its number from frame to frame, by the overlap of its boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from serving.runtime.detection import Floats, corners, pairwise_iou
from serving.runtime.image.placement import Box


@dataclass(slots=True)
class _Track:
    """A face: its last box (left, top, right, bottom), when that was seen, and how it moved, in pixels per second."""

    number: int
    box: Floats
    seen: float
    velocity: Floats | None = None

    def boxes_at(self, time: float, common: Floats) -> Floats:
        """Where the face may be: where it was, and where it would be had it kept moving. (2, 4).

        A face that was seen once may move by the `common` velocity.
        """
        moved = np.tile(common if self.velocity is None else self.velocity, 2) * np.float32(time - self.seen)
        return np.stack([self.box, self.box + moved])

    def move(self, box: Floats, time: float) -> None:
        """Take the box of a later frame. The velocity is the mean of the last one and of the one before."""
        if time > self.seen:
            velocity: Floats = (_center(box) - _center(self.box)) / np.float32(time - self.seen)
            self.velocity = velocity if self.velocity is None else (self.velocity + velocity) * np.float32(0.5)
        self.box, self.seen = box, time


class Tracker:
    """Gives each face of a frame the number that it had in the frames before, or a new one; from 1 on, none twice.

    The faces of a frame are assigned to the known ones so that the sum of the overlaps is as large as it can be
    (Hungarian algorithm). A known face counts with its last box and with that box moved on at its speed (a new face: at
    that of most faces), whichever overlaps more: so faces that cross keep their numbers, also while the camera moves,
    and so does one that comes back to where it was.

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
        faces = corners(np.array(boxes, np.float32).reshape(-1, 4))
        overlaps = np.zeros((len(self._tracks), len(faces)), np.float32)
        common = self._common_velocity()
        for row, track in enumerate(self._tracks):
            overlaps[row] = pairwise_iou(track.boxes_at(time, common), faces).max(axis=0)
        overlaps[overlaps < self._iou] = 0
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        track_of = {column: self._tracks[row] for row, column in pairs if overlaps[row, column] > 0}
        for column, box in enumerate(faces):
            if column not in track_of:
                self.count += 1
                track_of[column] = _Track(self.count, box, time)
                self._tracks.append(track_of[column])
            track_of[column].move(box, time)
        return [track_of[column].number for column in range(len(faces))]

    def _common_velocity(self) -> Floats:
        """How most faces move, as when the camera does."""
        velocities = [track.velocity for track in self._tracks if track.velocity is not None]
        common: Floats = np.median(velocities, axis=0) if velocities else np.zeros(2, np.float32)
        return common


def _center(box: Floats) -> Floats:
    center: Floats = (box[:2] + box[2:]) * np.float32(0.5)
    return center
