"""From image bytes and a face box to the pixels a model reads: the one path of training, prediction and serving.

`read_header` -> `crop_rect` -> `decode_rect` -> resize, each in the module of its name.
"""

import numpy as np
from PIL import Image

from serving.runtime.card import ClassificationCard, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.crop import Box, Rect, crop_rect
from serving.runtime.image.decode import decode_rect
from serving.runtime.image.header import Header, Pixels, read_header


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
    header = read_header(data)
    rect = crop_rect(header.upright, box, card.crop, card.input)
    return cut_resize(data, header, rect, card.input, card.crop.min_decode)


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
    header = read_header(data)
    if header.upright != tuple(size):
        actual, expected = (f"{width} x {height}" for height, width in (header.upright, size))
        raise InputError(f"the image is {actual} pixels, but its rectangle was made for {expected}")
    return cut_resize(data, header, rect, input_size, min_decode)


def cut_resize(data: bytes, header: Header, rect: Rect, input_size: InputSize, min_decode: float) -> Pixels:
    """Cut and resize as `decode_rect_resize`, for an image whose `header` has been read.

    A JPEG is decoded as by `decode_rect`. The resize is antialiased bilinear with a fractional source box.
    """
    pixels, box = decode_rect(data, header, rect, input_size, min_decode)
    size = (input_size.width, input_size.height)
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))
