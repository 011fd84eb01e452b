"""Which rectangle of an upright image a model sees: the crop rule of its card, applied to a face box."""

import math

from serving.runtime.card import CropRule, Frame, InputSize
from serving.runtime.errors import InputError

Box = tuple[float, float, float, float]
"""A face box: x, y, width, height in upright pixels."""

Rect = tuple[float, float, float, float]
"""A rectangle: left, top, right, bottom in pixels, fractions included."""


def crop_rect(size: tuple[int, int], box: Box | None, rule: CropRule, input_size: InputSize) -> Rect:
    """Turn a face box into the rectangle that is cut out for a model, see `CropRule`.

    Args:
        size: upright (height, width) of the image in pixels.
        box: the face, or None for the whole image.
        rule: the crop rule of the model's card.
        input_size: the model's input size.

    Raises:
        InputError: the box is not finite, has no area, or lies outside the image.
    """
    height, width = size
    if rule.frame is not None:
        return frame_rect(size, rule.frame)
    if box is None:
        return (0.0, 0.0, float(width), float(height))
    x, y, box_width, box_height = box
    if not all(math.isfinite(value) for value in box) or box_width <= 0 or box_height <= 0:
        raise InputError(
            f"the box {_numbers(box)} is not a box: expected x, y, width, height with width and height > 0"
        )
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        raise InputError(f"the box {_numbers(box)} lies outside the image, which is {width} x {height} pixels")
    aspect = input_size.width / input_size.height
    cut_width = max(box_width, box_height * aspect)
    left, right = _cut(x, box_width, cut_width * rule.scale, width)
    top, bottom = _cut(y, box_height, cut_width / aspect * rule.scale, height)
    return clip((left, top, right, bottom), size)


def _cut(start: float, length: float, cut_length: float, limit: int) -> tuple[float, float]:
    """Return (low, high) of the cut along one axis, where the box is `length` pixels from `start` on.

    A cut that is at least as large as the box covers the box's visible part and is not moved.
    """
    center = start + length / 2
    low, high = center - cut_length / 2, center + cut_length / 2
    reach = max(start, 0.0) - low, min(start + length, float(limit)) - high
    move = min(max(0.0, min(reach)), max(reach))
    return low + move, high + move


def frame_rect(size: tuple[int, int], frame: Frame) -> Rect:
    """Return a frame's rectangle in pixels of an upright image of `size` (height, width)."""
    left, top, right, bottom = frame
    return left * size[1], top * size[0], right * size[1], bottom * size[0]


def clip(rect: Rect, size: tuple[int, int]) -> Rect:
    """Return the part of a rectangle inside an image of `size` (height, width); InputError where there is none."""
    height, width = size
    left, top, right, bottom = rect
    clipped = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):  # also true for NaN
        raise InputError(f"the rectangle {_numbers(rect)} lies outside the image, which is {width} x {height} pixels")
    return clipped


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
