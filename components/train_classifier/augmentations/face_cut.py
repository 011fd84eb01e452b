"""Where in an image a training picture is read. Every draw comes from the generator that is passed in.

All changes of place are made in one reading: each further one would blur the picture, and faces of 48 pixels that are
read three times are no longer what is served.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from components.train_classifier.augmentations.ranges import Color, Pixels
from components.train_classifier.augmentations.resize import resize_rect
from components.train_classifier.config.augmentation import Augment
from serving.runtime.card import InputSize
from serving.runtime.image.crop import Rect
from serving.runtime.image.decode import decode_rect
from serving.runtime.image.header import Header

Places = NDArray[np.float32]

_KNOTS = 4
_STEP = 1.15  # source pixels between two that are read, at most: then photos are as sharp as by serving's resize


def cut_face(
    data: bytes,
    header: Header,
    rect: Rect,
    min_decode: float,
    rng: np.random.Generator,
    *,
    input_size: InputSize,
    augment: Augment,
    fill: Color,
) -> Pixels:
    """Read a random part of a rectangle of an encoded image; see `Augment` for what is drawn.

    Args:
        data: the encoded image.
        header: what `read_header` says of it.
        rect: (left, top, right, bottom) in upright pixels, inside the image.
        min_decode: as for `decode_rect`.
        rng: where the draws come from.
        input_size: the size of the result.
        augment: the ranges of the draws.
        fill: the color beyond the image.

    Returns:
        uint8 (height, width, 3) RGB.

    Raises:
        ImageError: the image cannot be used.
    """
    unscaled = (rect[2] - rect[0], rect[3] - rect[1]) == (input_size.width, input_size.height)
    rect = random_rect(rect, header.upright, augment, rng)
    mirrored = bool(rng.random() < augment.flip)
    if not augment.rotation and not augment.elastic:  # a resize is all it takes, which is quicker
        pixels = resize_rect(*decode_rect(data, header, rect, input_size, min_decode), input_size)
        return pixels[:, ::-1] if mirrored else pixels
    x, y = read_places(rect, input_size, mirrored, augment, rng)
    height, width = header.upright
    reach = (max(float(x.min()), 0), max(float(y.min()), 0), min(float(x.max()), width), min(float(y.max()), height))
    as_fine_as_rect = min_decode * _density(rect, input_size) / _density(reach, input_size)
    part, (left, top, right, bottom) = decode_rect(data, header, reach, input_size, as_fine_as_rect)
    across, down = (right - left) / (reach[2] - reach[0]), (bottom - top) / (reach[3] - reach[1])
    for places, start, scale, new_start in ((x, reach[0], across, left), (y, reach[1], down, top)):
        places *= scale
        places += new_start - start * scale
    step = (rect[2] - rect[0]) / input_size.width * across, (rect[3] - rect[1]) / input_size.height * down
    return read_once(part, x, y, step, "bicubic" if unscaled else "bilinear", fill)


def _density(rect: Rect, size: InputSize) -> float:
    return max(size.width / (rect[2] - rect[0]), size.height / (rect[3] - rect[1]))


def random_rect(rect: Rect, size: tuple[int, int], augment: Augment, rng: np.random.Generator) -> Rect:
    """Draw a rectangle inside `rect` (or slightly beyond it) and inside an upright image of `size` (height, width).

    See `Augment` for how its area, aspect ratio and place are drawn.
    """
    left, top, right, bottom = rect
    height, width = bottom - top, right - left
    area = rng.uniform(*augment.scale)
    stretch = math.exp(rng.uniform(math.log(augment.aspect[0]), math.log(augment.aspect[1])))
    new_width = min(width * math.sqrt(area * stretch), size[1])
    new_height = min(height * math.sqrt(area / stretch), size[0])
    new_left = _place(left, width, new_width, size[1], augment.translate, rng)
    new_top = _place(top, height, new_height, size[0], augment.translate, rng)
    return new_left, new_top, new_left + new_width, new_top + new_height


def _place(start: float, length: float, part: float, limit: float, translate: float, rng: np.random.Generator) -> float:
    slack = length - part
    margin = translate * length
    drawn = start + rng.uniform(min(slack, 0.0) - margin, max(slack, 0.0) + margin)
    return float(min(max(drawn, 0.0), limit - part))


def read_places(
    rect: Rect, size: InputSize, mirrored: bool, augment: Augment, rng: np.random.Generator
) -> tuple[Places, Places]:
    """Draw where in the image each pixel of a picture of `rect` is read: x and y, (size.height, size.width) each.

    (0.5, 0.5) is the middle of the image's first pixel. The places move first, then the picture is turned around its
    middle.
    """
    angle = math.radians(rng.uniform(-augment.rotation, augment.rotation))
    across = np.arange(size.width, dtype=np.float32) + np.float32(0.5 - size.width / 2)
    down = (np.arange(size.height, dtype=np.float32) + np.float32(0.5 - size.height / 2))[:, None]
    if mirrored:
        across = -across
    if augment.elastic:
        moves = rng.normal(0.0, rng.uniform(0.0, augment.elastic), (2, _KNOTS, _KNOTS)).astype(np.float32)
        from_rows, from_columns = cubic_weights(size.height, _KNOTS), cubic_weights(size.width, _KNOTS)
        across = across + from_rows @ (moves[0] * size.width) @ from_columns.T
        down = down + from_rows @ (moves[1] * size.height) @ from_columns.T
    left, top, right, bottom = rect
    cos, sin = math.cos(angle), math.sin(angle)
    x_scale, y_scale = (right - left) / size.width, (bottom - top) / size.height
    x = across * np.float32(cos * x_scale) + (down * np.float32(sin * x_scale) + np.float32((left + right) / 2))
    y = down * np.float32(cos * y_scale) - (across * np.float32(sin * y_scale) - np.float32((top + bottom) / 2))
    return x, y


@lru_cache(maxsize=64)
def cubic_weights(length: int, knots: int) -> Places:
    """Return what each of `knots`, from end to end, weighs at each of `length` places (Keys, 1981): (length, knots)."""
    places = np.linspace(0, knots - 1, length)
    first = np.floor(places).astype(np.intp)
    weights = np.zeros((length, knots))
    for step in (-1, 0, 1, 2):
        d = abs(places - (first + step))
        near = (1.25 * d - 2.25) * d * d + 1
        far = -0.75 * (((d - 5) * d + 8) * d - 4)
        weights[np.arange(length), np.clip(first + step, 0, knots - 1)] += np.where(d <= 1, near, far)
    rounded = weights.astype(np.float32)
    rounded.flags.writeable = False
    return rounded


def read_once(
    pixels: Pixels, x: Places, y: Places, step: tuple[float, float], mode: Literal["bilinear", "bicubic"], fill: Color
) -> Pixels:
    """Read RGB `pixels` at (x, y); where they are finer than the places, they are made smaller first.

    Args:
        pixels: uint8 (h,w,3).
        x: columns, (H,W); 0.5 is the middle of the first one.
        y: rows, (H,W), likewise.
        step: about how far two neighboring places are from each other, across and down.
        mode: bilinear is as sharp as serving's resize, bicubic as pictures that serving need not resize.
        fill: the color beyond the pixels.

    Returns:
        uint8 (H,W,3).
    """
    height, width = pixels.shape[:2]
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    smaller = [max(1, round(length * min(1.0, _STEP / by))) for length, by in ((height, step[1]), (width, step[0]))]
    if smaller != [height, width]:
        planes = functional.interpolate(planes, smaller, mode="bilinear", antialias=True)
    beyond = torch.tensor(fill, dtype=torch.float32)[:, None, None]
    grid = np.empty((1, *x.shape, 2), np.float32)
    for axis, (places, length) in enumerate(((x, width), (y, height))):
        np.multiply(places, 2 / length, out=grid[0, ..., axis])
    grid -= 1
    read = functional.grid_sample(planes.float().sub_(beyond), torch.from_numpy(grid), mode, align_corners=False)[0]
    found: Pixels = read.add_(beyond + 0.5).clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return found
