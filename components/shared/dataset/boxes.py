"""Boxes and keypoints of faces: from stored to upright pixels, clipped to the image, and their overlap."""

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


def clip_box(box: Box, height: int, width: int) -> tuple[Box | None, float]:
    """Clip a box to an image.

    Returns the box, None when nothing of it is in the image, and by how many pixels it reaches beyond the image, not at
    all at 0 or less.
    """
    x, y, box_width, box_height = box
    beyond = max(-x, -y, x + box_width - width, y + box_height - height)
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + box_width, float(width)), min(y + box_height, float(height))
    if left >= right or top >= bottom:
        return None, beyond
    return ((left, top, right - left, bottom - top) if beyond > 0 else box), beyond


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    inside = max(width, 0.0) * max(height, 0.0)
    return inside / (first[2] * first[3] + second[2] * second[3] - inside)


def inside_share(box: Box, height: int, width: int) -> float:
    """Return the share of a box's area that lies in an image of this size, 0 to 1."""
    clipped, _ = clip_box(box, height, width)
    return 0.0 if clipped is None else (clipped[2] * clipped[3]) / (box[2] * box[3])
