"""The faces of one image after the choice: their boxes, how they got them, and why they may be wrong."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from components.detect_faces.assign import Assignment
from components.detect_faces.config import OWN_BOXES, ChooseOptions
from components.detect_faces.detections import FoundFace, FoundFaces
from components.detect_faces.fallback import DROPPED, Fallback
from components.shared.dataset.annotations import DetectionRecord, Face, Image, Keypoint

UNREADABLE, NO_FACE, UNMATCHED = "unreadable", "no_face", "unmatched"
SEVERAL, NO_BOXES, LOW_SCORE, IMPLAUSIBLE = "several_faces", "several_without_box", "low_score", "implausible"
REASONS: Mapping[str, str] = {
    UNREADABLE: "the picture cannot be decoded",
    NO_FACE: "no detector found a plausible face",
    UNMATCHED: "an annotated face is none of those that were found",
    NO_BOXES: "several annotated faces have no box, so nothing tells which is which",
    SEVERAL: "one of several found faces was chosen by its score or size",
    LOW_SCORE: "the score of a chosen face is near the detector's threshold",
    IMPLAUSIBLE: "a found box is too small, too large or outside the picture",
}
"""Why an image, or a face of it, was dropped or may be wrong."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an image.

    Attributes:
        before: the image as annotated.
        found: what the detectors found in it.
        image: the image with its chosen boxes; None where it left the annotations.
        reasons: keys of REASONS; of a dropped image the first says why.
        dropped: the annotated faces that left, all of them where the image did.
    """

    before: Image
    found: FoundFaces
    image: Image | None
    reasons: tuple[str, ...] = ()
    dropped: tuple[Face, ...] = ()


def left_out(results: Iterable[Result]) -> tuple[int, int]:
    """Return how many annotated faces left with their images, and how many of images that stayed."""
    counts = [0, 0]
    for result in results:
        counts[result.image is not None] += len(result.dropped)
    return counts[0], counts[1]


class Chooser:
    """Makes the results of images.

    Args:
        options: the policies.
        thresholds: the lowest score of each detector by name.
        points: the names of the keypoints in the annotations.
        fallback: for the faces that were not found.
        first_id: the first id of faces that are new.
    """

    def __init__(
        self,
        options: ChooseOptions,
        thresholds: Mapping[str, float | None],
        points: Sequence[str],
        fallback: Fallback,
        first_id: int,
    ) -> None:
        self._options = options
        self._thresholds = thresholds
        self._points = points
        self._fallback = fallback
        self._ids = count(first_id)

    def result(self, image: Image, found: FoundFaces, assignment: Assignment) -> Result:
        """Return what becomes of an image."""
        if found.failed:
            return Result(image, found, None, (UNREADABLE,), image.faces)
        faces: list[Face] = []
        dropped: list[Face] = []
        methods: list[str] = []
        for face, match in zip(image.faces, assignment.faces, strict=True):
            if match is not None:
                faces.append(self._found(face, match))
                methods.insert(0, match.member)
                continue
            method, box = self._fallback.box(image, face.box)
            methods.append(method)
            if method == DROPPED:
                dropped.append(face)
            else:
                changed = face.original_box or face.box if box != face.box else face.original_box
                faces.append(replace(face, box=box, original_box=changed))
        if self._options.choose == "all":
            faces += [self._found(Face(next(self._ids), None, {}), face) for face in assignment.others]
            methods += [face.member for face in assignment.others]
        reasons = tuple(self._reasons(image, found, assignment))
        if image.faces and not faces:
            return Result(image, found, None, reasons, tuple(dropped))
        method = next((method for method in methods if method != DROPPED), "none")
        record = DetectionRecord(method, len(found.plausible), reasons)
        return Result(image, found, replace(image, faces=tuple(faces), detection=record), reasons, tuple(dropped))

    def _found(self, face: Face, match: FoundFace) -> Face:
        if match.member == OWN_BOXES:
            return face if face.box else replace(face, box=match.box)
        points = face.keypoints
        if match.keypoints and set(match.keypoints) == set(self._points):
            points = tuple(Keypoint(*match.keypoints[name], 2) for name in self._points)
        original = face.original_box or face.box
        return replace(face, box=match.box, keypoints=points, score=match.score, original_box=original)

    def _reasons(self, image: Image, found: FoundFaces, assignment: Assignment) -> Iterator[str]:
        if image.faces and not found.plausible:
            yield NO_FACE
        elif None in assignment.faces:
            yield NO_BOXES if sum(face.box is None for face in image.faces) > 1 else UNMATCHED
        if assignment.chosen and self._options.choose != "all":
            yield SEVERAL
        used = [match for match in assignment.faces if match is not None]
        if self._options.choose == "all":
            used += assignment.others
        if any(self._is_low(face) for face in used):
            yield LOW_SCORE
        if len(found.plausible) < len(found.faces):
            yield IMPLAUSIBLE

    def _is_low(self, face: FoundFace) -> bool:
        threshold = self._thresholds.get(face.member)
        if face.score is None or threshold is None:
            return False
        return face.score < threshold + self._options.near_threshold
