"""Found boxes matched with true ones over many photos, by COCO's own code.

The size of a face is its shorter side in pixels, not its area: COCOeval is given the square of the shorter side in
place of the area.
"""

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from serving.runtime.errors import InputError

Numbers = NDArray[np.float64]
Sides = tuple[float, float]
"""A range of the shorter side of a face in pixels: at least the first, less than the second."""

IOU = 0.5
"""Intersection over union from which a found box is a true one."""

ALL: Sides = (0.0, math.inf)

MAX_DETECTIONS = 300
"""As many boxes of a photo and label count, those of the highest scores."""

_RECALL_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, eq=False)
class PhotoBoxes:
    """What is in one photo and what was found there; boxes are x, y, width, height in pixels.

    Attributes:
        truths: float (n, 4).
        found: float (m, 4).
        scores: (m,), higher is surer.
        truth_labels: int (n,), indices of labels.
        found_labels: int (m,), likewise.
        ignored: float (k, 4), regions where nothing is missed, and a box that lies in one is not false.
    """

    truths: Numbers
    found: Numbers
    scores: NDArray[np.floating]
    truth_labels: NDArray[np.integer]
    found_labels: NDArray[np.integer]
    ignored: Numbers


@dataclass(frozen=True, slots=True)
class Counts:
    """Found boxes of a score threshold and more; a ratio without a denominator is NaN."""

    photos: int
    faces: int
    right: int
    false: int

    @property
    def precision(self) -> float:
        """The share of the found boxes that are faces."""
        return _ratio(self.right, self.right + self.false)

    @property
    def recall(self) -> float:
        """The share of the faces that was found."""
        return _ratio(self.right, self.faces)

    @property
    def false_positives(self) -> float:
        """The found boxes that are no face, per photo."""
        return _ratio(self.false, self.photos)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which found boxes of all photos are which true ones, of the faces in a range of sizes.

    What does not count is ignored: it is neither right, false nor missed. The fields from `found` on are about the
    first of the IoUs.

    Attributes:
        photos: number of photos.
        precision: (T, 101, C), of each IoU, level of recall (0 to 1) and label, as COCO computes it; NaN for a label
            without a true face.
        found: int (M, 3), the found boxes that count: the photo, the number there, the label.
        scores: (M,), theirs.
        right: bool (M,), whether they are true faces.
        truths: int (N, 3), the true faces that count: the photo, the number there, the label.
        found_by: int (N,), the number in the photo of the box that found each; -1 where none did.
        found_with: (N,), the score of that box; -inf where there is none.
    """

    photos: int
    precision: Numbers
    found: NDArray[np.intp]
    scores: Numbers
    right: NDArray[np.bool_]
    truths: NDArray[np.intp]
    found_by: NDArray[np.intp]
    found_with: Numbers

    def average_precision(self) -> Numbers:
        """Return COCO's AP of each label, (C,): the mean over the IoUs and levels of recall; NaN without a face."""
        values: Numbers = self.precision.mean(axis=(0, 1))
        return values

    def mean_average_precision(self) -> float:
        """Return the mean of AP over the labels that have a true face; NaN where none has."""
        values = self.average_precision()
        present = values[~np.isnan(values)]
        return float(present.mean()) if len(present) else math.nan

    def at(self, threshold: float, label: int | None = None) -> Counts:
        """Return what is right and false among the boxes of `threshold` and more, of one label or of all."""
        shown, asked = self.scores >= threshold, np.ones(len(self.truths), bool)
        if label is not None:
            shown, asked = shown & (self.found[:, 2] == label), self.truths[:, 2] == label
        right = int(self.right[shown].sum())
        return Counts(self.photos, int(asked.sum()), right, int(shown.sum()) - right)


class Comparison:
    """Photos with true and found boxes, ready to be matched in several ways.

    Args:
        photos: at least one.
        labels: how many labels there are.

    Raises:
        InputError: there is no photo.
    """

    def __init__(self, photos: Sequence[PhotoBoxes], labels: int = 1) -> None:
        if not photos:
            raise InputError("no photo to score detections on")
        self._photos, self._labels = len(photos), labels
        truths, found, regions = [], [], []
        for number, photo in enumerate(photos):
            for index, (box, label) in enumerate(zip(photo.truths.tolist(), photo.truth_labels.tolist(), strict=True)):
                truths.append((number, index, label, box, 0.0))
            scored = zip(photo.found.tolist(), photo.found_labels.tolist(), photo.scores.tolist(), strict=True)
            for index, (box, label, score) in enumerate(scored):
                found.append((number, index, label, box, score))
            regions += [(number, -1, label, box, 0.0) for box in photo.ignored.tolist() for label in range(labels)]
        self._truths, self._found = (_columns(entries) for entries in (truths, found))
        self._scores = np.array([entry[4] for entry in found], np.float64)
        self._coco = _coco(range(self._photos), labels, truths, regions), _coco(range(self._photos), labels, found)

    def match(self, ious: Sequence[float] = (IOU,), sides: Sides = ALL, *, by_label: bool = True) -> Matches:
        """Match found boxes and true ones.

        In each photo the boxes take, in the order of falling score, the true face of their label that they overlap most
        and that no other has taken, if by the IoU or more. True faces whose shorter side is not in `sides` are ignored,
        and so is a box that takes one, having found no other, or that takes none and is itself not in `sides`.

        Args:
            ious: intersections over union.
            sides: the faces that count.
            by_label: false lets boxes take faces of any label.
        """
        run = COCOeval(*self._coco, "bbox")
        run.params.iouThrs, run.params.recThrs = np.array(ious), _RECALL_LEVELS
        # COCO's ranges include both of their ends.
        run.params.areaRng = [[sides[0] ** 2, np.nextafter(sides[1] ** 2, 0)]]
        run.params.areaRngLbl, run.params.maxDets = ["all"], [MAX_DETECTIONS]
        run.params.useCats = int(by_label)
        with contextlib.redirect_stdout(io.StringIO()):
            run.evaluate()
            run.accumulate()
        precision = run.eval["precision"][:, :, :, 0, 0]
        seen = [one for one in run.evalImgs if one is not None]
        found = _joined([one["dtIds"] for one in seen]) - 1
        matched = _joined([one["dtMatches"][0] for one in seen])
        counts = _joined([one["dtIgnore"][0] for one in seen]) == 0
        truths = _joined([one["gtIds"] for one in seen]) - 1
        finders = _joined([one["gtMatches"][0] for one in seen]) - 1
        asked = _joined([one["gtIgnore"] for one in seen]) == 0
        truths, finders = truths[asked], finders[asked]
        hit = finders >= 0
        with_scores = np.full(len(truths), -math.inf)
        with_scores[hit] = self._scores[finders[hit]]
        return Matches(
            photos=self._photos,
            precision=np.where(precision < 0, math.nan, precision),
            found=self._found[found[counts]],
            scores=self._scores[found[counts]],
            right=matched[counts] > 0,
            truths=self._truths[truths],
            found_by=np.where(hit, self._found[:, 1][finders] if len(self._found) else -1, -1),
            found_with=with_scores,
        )


_Entry = tuple[int, int, int, list[float], float]


def _columns(entries: Sequence[_Entry]) -> NDArray[np.intp]:
    return np.array([entry[:3] for entry in entries], np.intp).reshape(-1, 3)


def _joined(parts: Sequence[Any]) -> NDArray[np.intp]:
    """Return the numbers of all photos as one array of integers."""
    return np.concatenate([np.asarray(part, np.intp) for part in parts] or [np.empty(0, np.intp)])


def _coco(photos: range, labels: int, boxes: Sequence[_Entry], regions: Sequence[_Entry] = ()) -> COCO:
    """Return boxes, and regions that are ignored, as a COCO data set; the id of a box is its position, from 1 on."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in photos],
        "categories": [{"id": label} for label in range(labels)],
        "annotations": [
            {
                "id": number,
                "image_id": photo,
                "category_id": label,
                "bbox": box,
                "area": min(box[2:]) ** 2,
                "score": score,
                "iscrowd": int(index < 0),
            }
            for number, (photo, index, label, box, score) in enumerate([*boxes, *regions], start=1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
