"""From image bytes and a face box to the pixels a model reads: the one path of training, prediction and serving."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.runtime.card import CropRule, Frame, InputSize, ModelCard
from serving.runtime.errors import InputError
from serving.runtime.image.file import Header, read_header, scaled_length, stored_pixels
from serving.runtime.image.file import Rect as Rect

Box = tuple[float, float, float, float]

DEFAULT_MAX_PIXELS = 100_000_000

REDUCTIONS = (1, 2, 4, 8)
"""The eighths at which JPEGs are decoded. TurboJPEG has slow code for the others: even 5/8 takes longer than 8/8."""


def decode(
    data: bytes, *, min_height: int = 0, min_width: int = 0, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an image to upright RGB, uint8 (H, W, 3).

    The content decides the format: JPEG, PNG, BMP, WebP, GIF (first frame), PPM and TIFF are read. Gray and palette
    images become RGB, 16-bit samples keep their high byte, transparency is laid on white, color profiles are ignored.
    With `min_height` or `min_width` above 0 a JPEG is decoded at the smallest of the REDUCTIONS whose upright size is
    at least that large on both sides (in full when the image itself is smaller); other formats are decoded in full.

    Raises:
        ImageError: `empty`, `not_an_image`, `truncated` (or damaged), `too_large` or `unsupported`.
    """
    header = read_header(data, max_pixels)
    eighths = 8
    if min_height > 0 or min_width > 0:
        height, width = header.upright
        eighths = next(
            (n for n in REDUCTIONS if scaled_length(height, n) >= min_height and scaled_length(width, n) >= min_width),
            8,
        )
    pixels, _ = stored_pixels(data, header, eighths)
    return np.ascontiguousarray(header.to_upright(pixels))


def crop_rect(size: tuple[int, int], box: Box | None, card_crop: CropRule, input_size: InputSize) -> Rect:
    """Turn a face box into the rectangle that is cut out for a model.

    The smallest rectangle of the input's aspect ratio around the box is scaled about its center by `card_crop.scale`
    and clipped to the image. A scale below 1 can leave nothing of a box that stands out of the image: that one is not
    scaled. Without a box it is the whole image. A rule with a frame cuts that, whatever the box.

    Args:
        size: upright (height, width) of the image in pixels.
        box: (x, y, width, height) in upright pixels, or None.
        card_crop: the model card's crop rule.
        input_size: the model's input size.

    Raises:
        InputError: the box is not finite, has no area, or lies outside the image.
    """
    height, width = size
    if card_crop.frame is not None:
        return frame_rect(size, card_crop.frame)
    if box is None:
        return (0.0, 0.0, float(width), float(height))
    x, y, box_width, box_height = box
    if not all(math.isfinite(value) for value in box) or box_width <= 0 or box_height <= 0:
        raise InputError(
            f"the box {_numbers(box)} is not a box: expected x, y, width, height with width and height > 0"
        )
    if _outside((x, y, x + box_width, y + box_height), size):
        raise InputError(f"the box {_numbers(box)} lies outside the image, which is {width} x {height} pixels")
    aspect = input_size.width / input_size.height
    cut_width = max(box_width, box_height * aspect)
    around = (x + box_width / 2, y + box_height / 2, cut_width, cut_width / aspect)
    cut = _scaled(around, card_crop.scale)
    return _clip(_scaled(around, 1.0) if _outside(cut, size) else cut, size)


def frame_rect(size: tuple[int, int], frame: Frame) -> Rect:
    """Return a frame's rectangle (left, top, right, bottom) in pixels of an upright image of `size` (height, width)."""
    left, top, right, bottom = frame
    return left * size[1], top * size[0], right * size[1], bottom * size[0]


def decode_rect_resize(
    data: bytes, rect: Rect, size: tuple[int, int], input_size: InputSize, min_decode: float
) -> NDArray[np.uint8]:
    """Cut a rectangle out of an encoded image and resize it, uint8 (input height, input width, 3) RGB.

    A JPEG is decoded as by `decode_rect`. The resize is antialiased bilinear with a fractional source box.

    Args:
        data: the encoded image.
        rect: (left, top, right, bottom) in upright pixels; clipped to the image.
        size: upright (height, width) that `rect` refers to.
        input_size: the size of the result.
        min_decode: how much larger than the result the decoded rectangle must be, 1 or more.

    Raises:
        ImageError: the image cannot be used, see `decode`.
        InputError: `size` is not the size of this image, or nothing of the rectangle is inside it.
    """
    header = read_header(data, DEFAULT_MAX_PIXELS)
    if header.upright != tuple(size):
        raise InputError(f"the image is {_shape(header.upright)} pixels, but its rectangle was made for {_shape(size)}")
    return cut_resize(data, header, rect, input_size, min_decode)


def decode_crop_resize(data: bytes, box: Box | None, card: ModelCard) -> NDArray[np.uint8]:
    """Give the pixels that the model of `card` reads for one face: uint8 (height, width, 3) RGB.

    Args:
        data: the encoded image.
        box: face box (x, y, width, height) in upright pixels; None takes the whole image.
        card: the model's card.

    Raises:
        ImageError: the image cannot be used, see `decode`.
        InputError: the box cannot be used, see `crop_rect`.
    """
    header = read_header(data, DEFAULT_MAX_PIXELS)
    rect = crop_rect(header.upright, box, card.crop, card.input)
    return cut_resize(data, header, rect, card.input, card.crop.min_decode)


def decode_rect(
    data: bytes, header: Header, rect: Rect, input_size: InputSize, min_decode: float
) -> tuple[NDArray[np.uint8], Rect]:
    """Decode the part of an image that a rectangle needs, and say where the rectangle lies in it.

    A JPEG is decoded at the smallest of the REDUCTIONS at which the rectangle still measures `min_decode` times the
    input on both sides. The part reaches one radius of an antialiased filter to `input_size` beyond the rectangle.

    Args:
        data: the encoded image.
        header: what `read_header` says of it.
        rect: (left, top, right, bottom) in upright pixels; clipped to the image.
        input_size: the size that the rectangle will be resized to.
        min_decode: how much larger than that the decoded rectangle must be, 1 or more.

    Returns:
        Upright RGB pixels, uint8 (h, w, 3), a view; and the rectangle in those pixels, fractions included.

    Raises:
        ImageError: the image cannot be used, see `decode`.
        InputError: nothing of the rectangle is inside the image.
    """
    left, top, right, bottom = rect = _clip(rect, header.upright)
    height, width = input_size.height, input_size.width
    wanted = 8 * min_decode * max(height / (bottom - top), width / (right - left))
    stored, scale = stored_pixels(data, header, next((n for n in REDUCTIONS if n >= wanted), 8))
    # A reduced side is rounded up at its end as it is stored, so the rectangle is scaled there and turned afterwards.
    reduced = replace(header, height=stored.shape[0], width=stored.shape[1])
    left, top, right, bottom = (value * scale for value in header.to_stored(rect))
    left, top, right, bottom = _clip(reduced.rect_to_upright((left, top, right, bottom)), reduced.upright)
    pixels = header.to_upright(stored)
    margin_x = math.ceil((right - left) / width) + 1
    margin_y = math.ceil((bottom - top) / height) + 1
    x0, y0 = max(0, math.floor(left) - margin_x), max(0, math.floor(top) - margin_y)
    part = pixels[y0 : math.ceil(bottom) + margin_y, x0 : math.ceil(right) + margin_x]
    return part, (left - x0, top - y0, right - x0, bottom - y0)


def cut_resize(data: bytes, header: Header, rect: Rect, input_size: InputSize, min_decode: float) -> NDArray[np.uint8]:
    """Do what `decode_rect_resize` does for an image whose `header` has been read, with its result and its errors."""
    pixels, box = decode_rect(data, header, rect, input_size, min_decode)
    size = (input_size.width, input_size.height)
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))


def _scaled(around: tuple[float, float, float, float], scale: float) -> Rect:
    """From center x, center y, width and height."""
    center_x, center_y, width, height = around
    half_width, half_height = width * scale / 2, height * scale / 2
    return center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height


def _outside(rect: Rect, size: tuple[int, int]) -> bool:
    left, top, right, bottom = rect
    return left >= size[1] or top >= size[0] or right <= 0 or bottom <= 0


def _clip(rect: Rect, size: tuple[int, int]) -> Rect:
    height, width = size
    left, top, right, bottom = rect
    clipped = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):  # also true for NaN
        raise InputError(f"the rectangle {_numbers(rect)} has nothing of the image, which is {_shape(size)} pixels")
    return clipped


def _shape(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
