"""From image bytes and a face box to the pixels a model reads: the one path of training, prediction and serving.

`Photo` -> `place` -> `Photo.part` -> resize.
"""

import numpy as np
from PIL import Image

from serving.runtime.card import ClassificationCard, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels, Rect, clip
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box, Keypoints, Placement, place

STEP = 1.15
"""The largest distance of two samples of a turned face in decoded pixels: then it is as sharp as by a resize."""


def decode_crop_resize(
    data: bytes, box: Box | None, card: ClassificationCard, *, keypoints: Keypoints | None = None
) -> Pixels:
    """Return the pixels that the model of `card` reads for one face: uint8 (height, width, 3) RGB.

    Args:
        data: the encoded image.
        box: face box (x, y, width, height) in upright pixels; None takes the whole image.
        card: the model's card.
        keypoints: the face's points, where they are known; models that align faces read `EYES`.

    Raises:
        ImageError: the image cannot be used, see `decode`.
        InputError: the box cannot be used, see `place`.
    """
    photo = Photo(data)
    placement = place(photo.upright, box, card.crop, card.input, keypoints)
    return cut_placed(photo, placement, card.input, card.crop.min_decode)


def cut_placed(photo: Photo, placement: Placement, input_size: InputSize, min_decode: float) -> Pixels:
    """Return what a placement shows of a photo: uint8 (input height, input width, 3) RGB, antialiased bilinear.

    A JPEG is decoded as `Photo.part` does; errors as there.
    """
    if placement.background is None:
        return cut_resize(photo, placement.rect, input_size, min_decode)
    if placement.angle:
        return _cut_turned(photo, placement, input_size, min_decode)
    canvas = np.full((input_size.height, input_size.width, 3), placement.background, np.uint8)
    visible = placement.visible(input_size)
    if visible is not None:
        (left, top, right, bottom), source = visible
        # Smaller than a model's input may be, so it is not validated.
        size = InputSize.model_construct(height=bottom - top, width=right - left)
        canvas[top:bottom, left:right] = cut_resize(photo, source, size, min_decode)
    return canvas


def decode_extent(
    photo: Photo, extent: Rect, rect: Rect, input_size: InputSize, min_decode: float
) -> tuple[Pixels, Rect]:
    """Decode a part of a photo as finely as `rect`, which is as wide and high as the input shows, needs it.

    Returns what `Photo.part` does for `extent`.
    """
    return photo.part(extent, input_size, min_decode * _density(rect, input_size) / _density(extent, input_size))


def _density(rect: Rect, size: InputSize) -> float:
    return max(size.width / (rect[2] - rect[0]), size.height / (rect[3] - rect[1]))


def _cut_turned(photo: Photo, placement: Placement, input_size: InputSize, min_decode: float) -> Pixels:
    """Sample a turned placement: the photo is resized until a sample is about a pixel, then bilinear."""
    assert placement.background is not None
    extent = clip(placement.extent(), photo.upright)
    part, rect = decode_extent(photo, extent, placement.rect, input_size, min_decode)
    scales = (rect[2] - rect[0]) / (extent[2] - extent[0]), (rect[3] - rect[1]) / (extent[3] - extent[1])
    left, top, right, bottom = placement.rect
    steps = (right - left) / input_size.width * scales[0], (bottom - top) / input_size.height * scales[1]
    image = Image.fromarray(part)
    sizes = [max(1, round(length * min(1.0, STEP / step))) for length, step in zip(image.size, steps, strict=True)]
    if tuple(sizes) != image.size:
        image = image.resize((sizes[0], sizes[1]), Image.Resampling.BILINEAR)

    def sampled(across: float, down: float) -> tuple[float, float]:
        x, y = placement.to_picture((across, down), input_size)
        column, row = rect[0] + (x - extent[0]) * scales[0], rect[1] + (y - extent[1]) * scales[1]
        return column * sizes[0] / part.shape[1], row * sizes[1] / part.shape[0]

    (x, y), (x_right, y_right), (x_down, y_down) = sampled(0, 0), sampled(1, 0), sampled(0, 1)
    affine = (x_right - x, x_down - x, x, y_right - y, y_down - y, y)
    size = (input_size.width, input_size.height)
    fill = (placement.background,) * 3
    return np.array(image.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=fill))


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
