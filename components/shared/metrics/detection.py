"""Detection metrics: found boxes against true ones, counted over photos."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.runtime.detection import corners, pairwise_iou
from serving.runtime.errors import InputError

Numbers = NDArray[np.float64]

_RECALL_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class PhotoFaces:
    """What is in one photo and what was found there; boxes are x, y, width, height.

    Attributes:
        truths: (n, 4).
        found: (m, 4).
        scores: (m,), higher is surer.
        groups: for each of the true faces, or empty: what it is counted under apart.
    """

    truths: Numbers
    found: Numbers
    scores: Numbers
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class GroupRecall:
    """The true faces of one group, and the share of them that was found."""

    faces: int
    recall: float


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Detection metrics; a ratio without a denominator is NaN.

    Attributes:
        photos: number of photos.
        faces: true faces that count.
        ignored: true faces that do not, for their size.
        recall: share of the faces that was found.
        precision: share of the found boxes that are faces.
        false_positives: found boxes that are no face, per photo.
        average_precision: the mean precision at 101 levels of recall, as COCO computes it at one IoU.
        groups: recall by group.
    """

    photos: int
    faces: int
    ignored: int
    recall: float
    precision: float
    false_positives: float
    average_precision: float
    groups: dict[str, GroupRecall]

    def scalars(self) -> dict[str, float]:
        """Return the metrics by name; recalls of groups as `recall/<group>`."""
        names = ("recall", "precision", "false_positives", "average_precision")
        apart = {f"recall/{name}": group.recall for name, group in self.groups.items()}
        return {name: getattr(self, name) for name in names} | apart


def detection_scores(
    photos: Iterable[PhotoFaces], *, iou: float = 0.5, sides: tuple[float, float] = (0, math.inf)
) -> DetectionScores:
    """Score found boxes.

    In each photo the boxes take, in the order of falling score, the true face that they overlap most and that no other
    has taken, if by `iou` or more. True faces whose shorter side is not in `sides` are ignored: they are not missed,
    and a box that takes one, having found no other, is not false.

    Args:
        photos: the photos.
        iou: intersection over union that makes a box a face's.
        sides: the shorter side of faces that count: at least the first, less than the second.

    Raises:
        InputError: there is no photo.
    """
    scores, hits, groups = [], [], []
    total = ignored = 0
    for photo in photos:
        total += 1
        shorter = photo.truths[:, 2:].min(axis=1, initial=math.inf)
        counts = (shorter >= sides[0]) & (shorter < sides[1])
        taken = match(photo, iou, counts)
        judged = np.append(counts, True)[taken]  # the last is for the boxes that took none
        scores.append(photo.scores[judged])
        hits.append(taken[judged] >= 0)
        ignored += int(np.sum(~counts))
        found = set(taken.tolist())
        names = photo.groups or [""] * len(counts)
        groups += [(names[face], face in found) for face in np.flatnonzero(counts).tolist()]
    if not total:
        raise InputError("no photo to score detections on")
    hit = np.concatenate(hits)[np.argsort(-np.concatenate(scores), kind="stable")]
    right, faces = int(hit.sum()), len(groups)
    return DetectionScores(
        photos=total,
        faces=faces,
        ignored=ignored,
        recall=_ratio(right, faces),
        precision=_ratio(right, len(hit)),
        false_positives=(len(hit) - right) / total,
        average_precision=_average_precision(hit, faces),
        groups=_recalls(groups),
    )


def match(photo: PhotoFaces, iou: float, counts: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each found box the index of the true face that it takes, -1 for none; see `detection_scores`.

    `counts`, bool (n,), tells the faces that a box takes before all others.
    """
    overlaps = pairwise_iou(corners(photo.found), corners(photo.truths))
    taken = np.full(len(photo.found), -1, np.intp)
    free = np.ones(len(photo.truths), bool)
    for box in np.argsort(-photo.scores, kind="stable"):
        for eligible in (counts, ~counts):
            candidates = np.flatnonzero(free & eligible & (overlaps[box] >= iou))
            if len(candidates):
                taken[box] = candidates[overlaps[box, candidates].argmax()]
                free[taken[box]] = False
                break
    return taken


def _average_precision(hit: NDArray[np.bool_], faces: int) -> float:
    """Return the mean over _RECALL_LEVELS of the best precision at that recall or above; 0 where it is not reached."""
    if not faces:
        return math.nan
    right = np.cumsum(hit)
    recall, precision = right / faces, right / np.arange(1, len(hit) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, _RECALL_LEVELS)].mean())


def _recalls(faces: Sequence[tuple[str, bool]]) -> dict[str, GroupRecall]:
    by_name: dict[str, list[bool]] = {}
    for name, found in faces:
        if name:
            by_name.setdefault(name, []).append(found)
    return {name: GroupRecall(len(found), sum(found) / len(found)) for name, found in sorted(by_name.items())}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
