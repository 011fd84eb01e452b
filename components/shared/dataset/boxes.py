"""Boxes and keypoints of faces: from stored to upright pixels, and their overlap."""

from components.shared.dataset.annotations import Box, Keypoint
from serving.runtime.image.header import Header


def upright_box(box: Box, header: Header) -> Box:
    """Turn a box of stored pixels into one of upright pixels, by the EXIF orientation of its image."""
    x, y, width, height = box
    left, top, right, bottom = header.rect_to_upright((x, y, x + width, y + height))
    return left, top, right - left, bottom - top


def upright_keypoint(point: Keypoint, header: Header) -> Keypoint:
    """Turn a keypoint of stored pixels into one of upright pixels; one that is not labeled stays as it is."""
    x, y, _, _ = header.rect_to_upright((point.x, point.y, point.x, point.y))
    return Keypoint(x, y, point.visibility) if point.visibility else point


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    inside = max(width, 0.0) * max(height, 0.0)
    return inside / (first[2] * first[3] + second[2] * second[3] - inside)
