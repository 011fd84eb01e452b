"""What a detector found, as the file of detections holds it."""

from components.detect_faces.detections import FoundFace
from serving.runtime.plausible import BoxLimits, clip_box, implausible
from serving.runtime.predictor import FaceResult

_DIGITS = 2
"""Of a pixel, in the file."""


def found_face(face: FaceResult, member: str, upright: tuple[int, int], limits: BoxLimits) -> FoundFace:
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
