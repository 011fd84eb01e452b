"""Random crops of faces, with mirroring, rotation and elastic distortion, sampled from the photo in one pass.

Each further resampling would blur the picture: faces of 48 pixels that are resampled three times have 0.62 of the
sharpness of those that are served. Every draw comes from the generator that is passed in.
"""

import math
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from components.train_classifier.augmentations.ranges import Color, Pixels
from components.train_classifier.config.augmentation import FaceArguments
from serving.runtime.card import InputSize
from serving.runtime.image.header import Rect
from serving.runtime.image.photo import Photo

Coordinates = NDArray[np.float32]

_KNOTS = 4
_STEP = 1.15  # largest distance of two samples in source pixels: then photos are as sharp as by serving's resize


def cut_face(
    photo: Photo,
    rect: Rect,
    min_decode: float,
    rng: np.random.Generator,
    *,
    input_size: InputSize,
    arguments: FaceArguments,
    fill: Color,
) -> Pixels:
    """Sample a random part of a rectangle of a photo; see `FaceArguments` for what is drawn.

    Args:
        photo: the photo.
        rect: (left, top, right, bottom) in upright pixels, inside the image.
        min_decode: as for `Photo.part`.
        rng: the source of all draws.
        input_size: the size of the result.
        arguments: the ranges of the draws.
        fill: the color beyond the image.

    Returns:
        uint8 (height, width, 3) RGB.

    Raises:
        ImageError: the image cannot be used.
    """
    unscaled = (rect[2] - rect[0], rect[3] - rect[1]) == (input_size.width, input_size.height)
    rect = random_rect(rect, photo.upright, arguments, rng)
    mirrored = bool(rng.random() < arguments.flip)
    if not arguments.rotation and not arguments.elastic:  # a resize does the same, faster
        pixels = resize_rect(*photo.part(rect, input_size, min_decode), input_size)
        return np.asarray(cv2.flip(pixels, 1), np.uint8) if mirrored else pixels
    x, y = sampling_coordinates(rect, input_size, mirrored, arguments, rng)
    height, width = photo.upright
    extent = (max(float(x.min()), 0), max(float(y.min()), 0), min(float(x.max()), width), min(float(y.max()), height))
    as_fine_as_rect = min_decode * _density(rect, input_size) / _density(extent, input_size)
    part, (left, top, right, bottom) = photo.part(extent, input_size, as_fine_as_rect)
    x_scale, y_scale = (right - left) / (extent[2] - extent[0]), (bottom - top) / (extent[3] - extent[1])
    x = (x - np.float32(extent[0])) * np.float32(x_scale) + np.float32(left)
    y = (y - np.float32(extent[1])) * np.float32(y_scale) + np.float32(top)
    step = (rect[2] - rect[0]) / input_size.width * x_scale, (rect[3] - rect[1]) / input_size.height * y_scale
    return sample(part, x, y, step, cv2.INTER_CUBIC if unscaled else cv2.INTER_LINEAR, fill)


def _density(rect: Rect, size: InputSize) -> float:
    return max(size.width / (rect[2] - rect[0]), size.height / (rect[3] - rect[1]))


def random_rect(rect: Rect, size: tuple[int, int], arguments: FaceArguments, rng: np.random.Generator) -> Rect:
    """Draw a rectangle inside `rect` (or slightly beyond it) and inside an upright image of `size` (height, width).

    See `FaceArguments` for how its area, aspect ratio and position are drawn.
    """
    left, top, right, bottom = rect
    height, width = bottom - top, right - left
    area = rng.uniform(*arguments.scale)
    stretch = math.exp(rng.uniform(math.log(arguments.aspect[0]), math.log(arguments.aspect[1])))
    new_width = min(width * math.sqrt(area * stretch), size[1])
    new_height = min(height * math.sqrt(area / stretch), size[0])
    new_left = _random_start(left, width, new_width, size[1], arguments.translate, rng)
    new_top = _random_start(top, height, new_height, size[0], arguments.translate, rng)
    return new_left, new_top, new_left + new_width, new_top + new_height


def _random_start(
    start: float, length: float, part: float, limit: float, translate: float, rng: np.random.Generator
) -> float:
    slack = length - part
    margin = translate * length
    drawn = start + rng.uniform(min(slack, 0.0) - margin, max(slack, 0.0) + margin)
    return float(min(max(drawn, 0.0), limit - part))


def sampling_coordinates(
    rect: Rect, size: InputSize, mirrored: bool, arguments: FaceArguments, rng: np.random.Generator
) -> tuple[Coordinates, Coordinates]:
    """Draw where each pixel of a picture of `rect` samples the image: x and y, (size.height, size.width) each.

    (0.5, 0.5) is the center of the image's first pixel. The elastic distortion comes before the rotation around the
    center.
    """
    angle = math.radians(rng.uniform(-arguments.rotation, arguments.rotation))
    across = np.arange(size.width, dtype=np.float32) + np.float32(0.5 - size.width / 2)
    down = (np.arange(size.height, dtype=np.float32) + np.float32(0.5 - size.height / 2))[:, None]
    if mirrored:
        across = -across
    if arguments.elastic:
        moves = rng.normal(0.0, rng.uniform(0.0, arguments.elastic), (2, _KNOTS, _KNOTS)).astype(np.float32)
        by_row, by_column = cubic_weights(size.height, _KNOTS), cubic_weights(size.width, _KNOTS)
        across = across + by_row @ (moves[0] * size.width) @ by_column.T
        down = down + by_row @ (moves[1] * size.height) @ by_column.T
    left, top, right, bottom = rect
    cos, sin = math.cos(angle), math.sin(angle)
    x_scale, y_scale = (right - left) / size.width, (bottom - top) / size.height
    x = across * np.float32(cos * x_scale) + (down * np.float32(sin * x_scale) + np.float32((left + right) / 2))
    y = down * np.float32(cos * y_scale) - (across * np.float32(sin * y_scale) - np.float32((top + bottom) / 2))
    return x, y


@lru_cache(maxsize=64)
def cubic_weights(length: int, knots: int) -> Coordinates:
    """Return the cubic weights of `knots`, from end to end, at `length` points (Keys, 1981): (length, knots)."""
    identity = torch.eye(knots)[None, None]
    weights = functional.interpolate(identity, (length, knots), mode="bicubic", align_corners=True)
    return weights[0, 0].numpy()


def sample(
    pixels: Pixels, x: Coordinates, y: Coordinates, step: tuple[float, float], interpolation: int, fill: Color
) -> Pixels:
    """Sample RGB `pixels` at (x, y); where they are finer than the samples, they are resized first.

    Args:
        pixels: uint8 (h,w,3).
        x: columns, (H,W); 0.5 is the center of the first one.
        y: rows, (H,W), likewise.
        step: the approximate distance of neighboring samples, across and down.
        interpolation: cv2.INTER_LINEAR is as sharp as serving's resize, INTER_CUBIC as pictures that serving does not
            resize.
        fill: the color beyond the pixels.

    Returns:
        uint8 (H,W,3).
    """
    height, width = pixels.shape[:2]
    new_height, new_width = (
        max(1, round(length * min(1.0, _STEP / by))) for length, by in ((height, step[1]), (width, step[0]))
    )
    if (new_height, new_width) != (height, width):
        pixels = _resize(pixels, new_height, new_width)
    x = x * np.float32(new_width / width) - np.float32(0.5)
    y = y * np.float32(new_height / height) - np.float32(0.5)
    return np.asarray(
        cv2.remap(pixels, x, y, interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=fill), np.uint8
    )


def resize_rect(pixels: Pixels, rect: Rect, size: InputSize) -> Pixels:
    """Resize a rectangle (left, top, right, bottom) of RGB `pixels` with the filter of serving, antialiased bilinear.

    It is rounded to whole pixels, which makes no difference for a random position, and the pixels around it are not
    read: less than half the time of serving's resize. The result is within a level of Pillow's for the same pixels.

    uint8 (h,w,3) -> uint8 (size.height, size.width, 3). The rectangle must lie inside the pixels.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = map(round, rect)
    left, top = min(left, width - 1), min(top, height - 1)
    return _resize(pixels[top : max(bottom, top + 1), left : max(right, left + 1)], size.height, size.width)


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize by torch, which antialiases as Pillow does; OpenCV has no such filter."""
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    resized = functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return np.asarray(cv2.merge(list(resized[0].numpy())), np.uint8)
