"""Which boxes can be faces at all."""

from components.detect_faces.config import DetectOptions
from components.detect_faces.detections import OUTSIDE, TOO_LARGE, TOO_SMALL, FoundFace
from components.shared.dataset.boxes import clip_box, inside_share
from serving.runtime.predictor import FaceResult

_DIGITS = 2
"""Of a pixel, in the file."""


def found_face(face: FaceResult, member: str, upright: tuple[int, int], limits: DetectOptions) -> FoundFace:
    """Return what a detector found, its box clipped to the image where it is plausible, and otherwise the reason.

    Args:
        face: as found; it has a box.
        member: the name of the detector.
        upright: height and width of the image in pixels.
        limits: which boxes are plausible.
    """
    assert face.box is not None
    points = {name: (round(x, _DIGITS), round(y, _DIGITS)) for name, (x, y) in face.keypoints.items()}
    reason = implausible(face.box, upright, limits)
    box = face.box if reason else clip_box(face.box, *upright)[0]
    assert box is not None
    left, top, width, height = (round(float(value), _DIGITS) for value in box)
    return FoundFace((left, top, width, height), member, face.score, points, reason)


def implausible(box: tuple[float, float, float, float], upright: tuple[int, int], limits: DetectOptions) -> str:
    """Return why a box is not plausible, "" for one that is."""
    _, _, width, height = box
    if min(width, height) <= 0:
        return TOO_SMALL
    if inside_share(box, *upright) < limits.min_inside:
        return OUTSIDE
    seen, _ = clip_box(box, *upright)
    assert seen is not None
    share = seen[2] * seen[3] / (upright[0] * upright[1])
    if min(width, height) < limits.min_side or share < limits.min_share:
        return TOO_SMALL
    return TOO_LARGE if share > limits.max_share else ""
