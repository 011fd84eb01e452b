"""From image bytes and a face box to the pixels a model reads: the one path of training, prediction and serving.

`Photo` -> `crop_rect` -> `Photo.part` -> resize.
"""

import math

import numpy as np
from PIL import Image

from serving.runtime.card import ClassificationCard, CropRule, Frame, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels, Rect, clip
from serving.runtime.image.photo import Photo

Box = tuple[float, float, float, float]
"""A face box: x, y, width, height in upright pixels."""


def decode_crop_resize(data: bytes, box: Box | None, card: ClassificationCard) -> Pixels:
    """Return the pixels that the model of `card` reads for one face: uint8 (height, width, 3) RGB.

    Args:
        data: the encoded image.
        box: face box (x, y, width, height) in upright pixels; None takes the whole image.
        card: the model's card.

    Raises:
        ImageError: the image cannot be used, see `decode`.
        InputError: the box cannot be used, see `crop_rect`.
    """
    photo = Photo(data)
    return cut_resize(photo, crop_rect(photo.upright, box, card.crop, card.input), card.input, card.crop.min_decode)


def decode_rect_resize(
    data: bytes, rect: Rect, size: tuple[int, int], input_size: InputSize, min_decode: float
) -> Pixels:
    """Cut a rectangle out of an encoded image and resize it, uint8 (input height, input width, 3) RGB.

    Args:
        data: the encoded image.
        rect: (left, top, right, bottom) in upright pixels; clipped to the image.
        size: upright (height, width) that `rect` refers to.
        input_size: the size of the result.
        min_decode: how much larger than the result the decoded rectangle must be, 1 or more.

    Raises:
        ImageError: the image cannot be used, see `decode`.
        InputError: `size` is not the size of this image, or the rectangle lies outside the image.
    """
    photo = Photo(data)
    if photo.upright != tuple(size):
        actual, expected = (f"{width} x {height}" for height, width in (photo.upright, size))
        raise InputError(f"the image is {actual} pixels, but its rectangle was made for {expected}")
    return cut_resize(photo, rect, input_size, min_decode)


def cut_resize(photo: Photo, rect: Rect, input_size: InputSize, min_decode: float) -> Pixels:
    """Cut a rectangle out of a photo and resize it, antialiased bilinear, to uint8 (height, width, 3) RGB.

    A JPEG is decoded as `Photo.part` does; errors as there.
    """
    return _resized(*photo.part(rect, input_size, min_decode), input_size)


def _resized(pixels: Pixels, rect: Rect, input_size: InputSize) -> Pixels:
    """Cut a rectangle out of decoded pixels and resize it, antialiased bilinear, to uint8 (height, width, 3)."""
    size = (input_size.width, input_size.height)
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=rect))


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
    numbers = ", ".join(f"{value:g}" for value in box)
    if not all(math.isfinite(value) for value in box) or box_width <= 0 or box_height <= 0:
        raise InputError(f"the box ({numbers}) is not a box: expected x, y, width, height with width and height > 0")
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        raise InputError(f"the box ({numbers}) lies outside the image, which is {width} x {height} pixels")
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
