"""Which found face is which annotated face of one image."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.detect_faces.config import Choice
from components.detect_faces.detections import FoundFace
from components.shared.dataset.annotations import Face
from components.shared.dataset.boxes import overlap


@dataclass(frozen=True, slots=True)
class Assignment:
    """Found faces of one image.

    Attributes:
        faces: for each annotated face the found one that it is; None where none is.
        others: the found faces that are none of them.
        chosen: whether one of several found faces was chosen by its score or size alone.
    """

    faces: tuple[FoundFace | None, ...]
    others: tuple[FoundFace, ...]
    chosen: bool = False


def assign(faces: Sequence[Face], found: Sequence[FoundFace], choose: Choice, min_iou: float) -> Assignment:
    """Assign found faces to the annotated faces of an image.

    Annotated boxes and found ones that overlap by `min_iou` or more are one face, the pairs of the largest overlap
    first, each in one pair. An image with one face is different where `choose` is `score` or `largest`: its box, which
    may be wrong, does not count. A face without a box gets the best one that is left by `choose`, by score where that
    compares boxes; where several have none, nothing tells which is which, and they get none.
    """
    left = list(found)
    by_overlap = len(faces) > 1 or choose in ("best_iou", "all")
    boxed = [index for index, face in enumerate(faces) if face.box is not None and by_overlap]
    pairs = _pairs([(index, face) for index in boxed for face in left], faces, min_iou)
    left = [face for face in left if all(face is not other for other in pairs.values())]
    free = [index for index in range(len(faces)) if index not in boxed]
    chosen = len(free) == 1 and len(left) > 1
    if len(free) == 1 and left:
        best = max(left, key=_area if choose == "largest" else _score)
        pairs[free[0]] = best
        left = [face for face in left if face is not best]
    return Assignment(tuple(map(pairs.get, range(len(faces)))), tuple(left), chosen)


def _pairs(possible: Sequence[tuple[int, FoundFace]], faces: Sequence[Face], min_iou: float) -> dict[int, FoundFace]:
    """Return the found face of each annotated one by its index: the largest overlap first, each face in one pair."""
    overlaps = []
    for index, found in possible:
        box = faces[index].box
        assert box is not None
        overlaps.append((overlap(box, found.box), index, found))
    pairs: dict[int, FoundFace] = {}
    for iou, index, found in sorted(overlaps, key=lambda entry: -entry[0]):
        if iou >= min_iou and index not in pairs and all(found is not other for other in pairs.values()):
            pairs[index] = found
    return pairs


def _area(face: FoundFace) -> float:
    return face.box[2] * face.box[3]


def _score(face: FoundFace) -> tuple[float, float]:
    """Sort by score, and by area where there is none."""
    return (face.score if face.score is not None else 0.0), _area(face)
