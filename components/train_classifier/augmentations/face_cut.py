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
from serving.runtime.image.placement import Placement
from serving.runtime.image.preprocess import STEP, cut_placed, decode_extent

Coordinates = NDArray[np.float32]

_KNOTS = 4


def cut_face(
    photo: Photo,
    placement: Placement,
    min_decode: float,
    rng: np.random.Generator,
    *,
    input_size: InputSize,
    arguments: FaceArguments,
    fill: Color,
) -> Pixels:
    """Sample a random part of what a placement shows of a photo; see `FaceArguments` for what is drawn.

    Args:
        photo: the photo.
        placement: what serving shows; without a background it lies in the image, and so does every part.
        min_decode: as for `Photo.part`.
        rng: the source of all draws.
        input_size: the size of the result.
        arguments: the ranges of the draws.
        fill: the color beyond the image, unless the placement has a background.

    Returns:
        uint8 (height, width, 3) RGB.

    Raises:
        ImageError: the image cannot be used.
    """
    rect = random_rect(placement.rect, _bounds(photo, placement), arguments, rng)
    mirrored = bool(rng.random() < arguments.flip)
    if not arguments.rotation and not arguments.elastic:  # a resize does the same, faster
        pixels = (
            resize_rect(*photo.part(rect, input_size, min_decode), input_size)
            if placement.background is None
            else cut_placed(photo, placement.part(rect), input_size, min_decode)
        )
        return np.asarray(cv2.flip(pixels, 1), np.uint8) if mirrored else pixels
    x, y = sampling_coordinates(rect, input_size, mirrored, arguments, rng)
    if placement.background is None:
        return _read(photo, placement, rect, (x, y), min_decode, fill)
    x, y = _turned(x, y, placement)
    fill = (placement.background,) * 3
    pixels = np.full((*x.shape, 3), placement.background, np.uint8)
    left, top, right, bottom = placement.window
    seen = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    if seen.any():
        pixels[seen] = _read(photo, placement, rect, (x, y), min_decode, fill)[seen]
    return pixels


def _bounds(photo: Photo, placement: Placement) -> Rect:
    """Where random parts may lie: in the image, or anywhere for a placement with a background."""
    if placement.background is not None:
        return -math.inf, -math.inf, math.inf, math.inf
    height, width = photo.upright
    return 0.0, 0.0, float(width), float(height)


def _turned(x: Coordinates, y: Coordinates, placement: Placement) -> tuple[Coordinates, Coordinates]:
    """Turn coordinates around the center of a placement by its angle."""
    if not placement.angle:
        return x, y
    cos, sin = np.float32(math.cos(placement.angle)), np.float32(math.sin(placement.angle))
    center_x, center_y = map(np.float32, placement.center)
    x, y = x - center_x, y - center_y
    return cos * x - sin * y + center_x, sin * x + cos * y + center_y


def _read(
    photo: Photo,
    placement: Placement,
    rect: Rect,
    coordinates: tuple[Coordinates, Coordinates],
    min_decode: float,
    fill: Color,
) -> Pixels:
    """Read the window of a placement at (x, y) in upright pixels, some of which lie in it; `fill` beyond the image.

    `rect` is as wide and high as what the coordinates show.
    """
    x, y = coordinates
    size = InputSize.model_construct(height=x.shape[0], width=x.shape[1])
    left, top, right, bottom = placement.window
    extent = (
        max(float(x.min()), left),
        max(float(y.min()), top),
        min(float(x.max()), right),
        min(float(y.max()), bottom),
    )
    part, (left, top, right, bottom) = decode_extent(photo, extent, rect, size, min_decode)
    x_scale, y_scale = (right - left) / (extent[2] - extent[0]), (bottom - top) / (extent[3] - extent[1])
    x = (x - np.float32(extent[0])) * np.float32(x_scale) + np.float32(left)
    y = (y - np.float32(extent[1])) * np.float32(y_scale) + np.float32(top)
    step = (rect[2] - rect[0]) / size.width * x_scale, (rect[3] - rect[1]) / size.height * y_scale
    left, top, right, bottom = placement.rect
    unscaled = (right - left, bottom - top) == (size.width, size.height)
    return sample(part, x, y, step, cv2.INTER_CUBIC if unscaled else cv2.INTER_LINEAR, fill)


def random_rect(rect: Rect, bounds: Rect, arguments: FaceArguments, rng: np.random.Generator) -> Rect:
    """Draw a rectangle inside `rect` (or slightly beyond it) and inside `bounds`.

    See `FaceArguments` for how its area, aspect ratio and position are drawn.
    """
    left, top, right, bottom = rect
    height, width = bottom - top, right - left
    area = rng.uniform(*arguments.scale)
    stretch = math.exp(rng.uniform(math.log(arguments.aspect[0]), math.log(arguments.aspect[1])))
    new_width = min(width * math.sqrt(area * stretch), bounds[2] - bounds[0])
    new_height = min(height * math.sqrt(area / stretch), bounds[3] - bounds[1])
    new_left = _random_start(left, width, new_width, bounds[::2], arguments.translate, rng)
    new_top = _random_start(top, height, new_height, bounds[1::2], arguments.translate, rng)
    return new_left, new_top, new_left + new_width, new_top + new_height


def _random_start(
    start: float, length: float, part: float, bounds: tuple[float, ...], translate: float, rng: np.random.Generator
) -> float:
    slack = length - part
    margin = translate * length
    drawn = start + rng.uniform(min(slack, 0.0) - margin, max(slack, 0.0) + margin)
    low, high = bounds
    return float(min(max(drawn, low), high - part))


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
        max(1, round(length * min(1.0, STEP / by))) for length, by in ((height, step[1]), (width, step[0]))
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
