"""Where the picture of a face lies in a model's input: the geometry of every crop rule, without pixels."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from serving.runtime.card import DEFAULT_PADDING_SCALE, CropRule, Frame, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.header import Rect, clip

Box = tuple[float, float, float, float]
"""A face box: x, y, width, height in upright pixels."""

Point = tuple[float, float]

Keypoints = Mapping[str, Point]
"""Points of a face by name: x, y in upright pixels."""

EYES = ("left_eye", "right_eye")
"""The points that faces are aligned by; left is the viewer's left."""

_BLACK = 0
# Boxes may have any size; beyond this many pixels from the picture a square is cut off, so that no sum overflows.
_FAR = 1e7
_ROUNDING = 1e-6  # shares of an input's pixel that are errors of rounding


@dataclass(frozen=True, slots=True)
class Placement:
    """What a model's input shows of a picture, in upright pixels of the picture.

    Attributes:
        rect: left, top, right, bottom of what the whole input shows; parts of it may lie beyond the picture.
        window: the part of the picture that is seen; around it is the background.
        background: the gray level around the window; None where no background is seen, since `rect` is in the picture.
        angle: by how much `rect` is turned around its center, in radians from x toward y.
        aligned: whether the face was placed by its eyes.
    """

    rect: Rect
    window: Rect
    background: int | None = None
    angle: float = 0.0
    aligned: bool = False

    @property
    def center(self) -> Point:
        """The center of the input in the picture."""
        left, top, right, bottom = self.rect
        return (left + right) / 2, (top + bottom) / 2

    def part(self, rect: Rect) -> Self:
        """Return the placement that shows `rect`, a part of this one's or beyond it, turned with it."""
        if not self.angle:
            return replace(self, rect=rect)
        left, top, right, bottom = rect
        across, down = (right - left) / 2, (bottom - top) / 2
        x, y = self.turned(((left + right) / 2, (top + bottom) / 2))
        return replace(self, rect=(x - across, y - down, x + across, y + down))

    def turned(self, point: Point, sign: int = 1) -> Point:
        """Turn a point around the center by the angle, or back where `sign` is -1."""
        x, y = self.center
        cos, sin = math.cos(self.angle), sign * math.sin(self.angle)
        across, down = point[0] - x, point[1] - y
        return x + cos * across - sin * down, y + sin * across + cos * down

    def to_input(self, point: Point, size: InputSize) -> Point:
        """Return where a point of the picture is in the input, in its pixels."""
        left, top, right, bottom = self.rect
        x, y = self.turned(point, -1) if self.angle else point
        return (x - left) * (size.width / (right - left)), (y - top) * (size.height / (bottom - top))

    def to_picture(self, point: Point, size: InputSize) -> Point:
        """Return which point of the picture is at a point of the input."""
        left, top, right, bottom = self.rect
        unturned = left + point[0] * ((right - left) / size.width), top + point[1] * ((bottom - top) / size.height)
        return self.turned(unturned) if self.angle else unturned

    def extent(self) -> Rect:
        """Return the smallest upright rectangle around what the input shows."""
        left, top, right, bottom = self.rect
        corners = [self.turned((x, y)) for x in (left, right) for y in (top, bottom)]
        across, down = zip(*corners, strict=True)
        return min(across), min(down), max(across), max(down)

    def visible(self, size: InputSize) -> tuple[tuple[int, int, int, int], Rect] | None:
        """Return the whole pixels of the input (left, top, right, bottom) that show the window, and what they show.

        For a placement without an angle. None when that is less than a pixel.
        """
        left, right = _covered(self.rect[0], self.rect[2], self.window[0], self.window[2], size.width)
        top, bottom = _covered(self.rect[1], self.rect[3], self.window[1], self.window[3], size.height)
        if left >= right or top >= bottom:
            return None
        source = (*self.to_picture((left, top), size), *self.to_picture((right, bottom), size))
        x0, y0, x1, y1 = self.window
        inside = max(source[0], x0), max(source[1], y0), min(source[2], x1), min(source[3], y1)
        return (left, top, right, bottom), inside


def _covered(low: float, high: float, start: float, end: float, count: int) -> tuple[int, int]:
    """Return the first and the last but one of `count` pixels from `low` to `high` that lie between start and end."""
    scale = count / (high - low)
    first, last = (start - low) * scale, (end - low) * scale
    return max(0, math.ceil(first - _ROUNDING)), min(count, math.floor(last + _ROUNDING))


def place(
    size: tuple[int, int], box: Box | None, rule: CropRule, input_size: InputSize, keypoints: Keypoints | None = None
) -> Placement:
    """Turn a face box into what a model's input shows, see `CropRule`.

    Args:
        size: upright (height, width) of the image in pixels.
        box: the face, or None for the whole image.
        rule: the crop rule of the model's card.
        input_size: the model's input size.
        keypoints: the points of the face, where they are known; only `EYES` are read.

    Raises:
        InputError: the box is not finite, has no area, lies outside the image, or is too large to show anything of it.
    """
    picture = (0.0, 0.0, float(size[1]), float(size[0]))
    aligned = _aligned(size, rule, input_size, keypoints)
    if aligned is not None:
        return aligned
    if rule.mode == "square":
        square = _square(size, box, rule.scale)
        if rule.padding_scale is None:
            placement = Placement(square, picture, rule.background or _BLACK)
        else:
            placement = replace(_on_canvas(square, rule, input_size), window=clip(square, size))
        if placement.visible(input_size) is None:
            raise InputError(f"the box ({_numbers(box or ())}) is so large that nothing of the image would be seen")
        return placement
    cut = crop_rect(size, box, rule, input_size)
    if rule.mode in ("fit_inside", "short_side"):
        return _on_canvas(cut, rule, input_size)
    return Placement(cut, picture)


def crop_rect(size: tuple[int, int], box: Box | None, rule: CropRule, input_size: InputSize) -> Rect:
    """Return the rectangle around a face box that is cut out of an image, clipped to it, see `CropRule`.

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
    x, y, box_width, box_height = _checked(size, box)
    if rule.mode is None:
        aspect = 1 / rule.aspect if rule.aspect else input_size.width / input_size.height
        cut_width = max(box_width, box_height * aspect)
        cut_height = cut_width / aspect
    else:
        cut_width, cut_height = box_width, box_height
    left, right = _cut(x, box_width, cut_width * rule.scale, width)
    top, bottom = _cut(y, box_height, cut_height * rule.scale, height)
    return clip((left, top, right, bottom), size)


def frame_rect(size: tuple[int, int], frame: Frame) -> Rect:
    """Return a frame's rectangle in pixels of an upright image of `size` (height, width)."""
    left, top, right, bottom = frame
    return left * size[1], top * size[0], right * size[1], bottom * size[0]


def eye_points(keypoints: Keypoints) -> Keypoints:
    """Return the points that faces are aligned by, or nothing where one is missing."""
    return {name: keypoints[name] for name in EYES} if set(EYES) <= keypoints.keys() else {}


def _checked(size: tuple[int, int], box: Box) -> Box:
    height, width = size
    x, y, box_width, box_height = box
    numbers = _numbers(box)
    if not all(math.isfinite(value) for value in box) or box_width <= 0 or box_height <= 0:
        raise InputError(f"the box ({numbers}) is not a box: expected x, y, width, height with width and height > 0")
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        raise InputError(f"the box ({numbers}) lies outside the image, which is {width} x {height} pixels")
    return box


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _cut(start: float, length: float, cut_length: float, limit: int) -> tuple[float, float]:
    """Return (low, high) of the cut along one axis, where the box is `length` pixels from `start` on.

    A cut that is at least as large as the box covers the box's visible part and is not moved.
    """
    center = start + length / 2
    low, high = center - cut_length / 2, center + cut_length / 2
    reach = max(start, 0.0) - low, min(start + length, float(limit)) - high
    move = min(max(0.0, min(reach)), max(reach))
    return low + move, high + move


def _square(size: tuple[int, int], box: Box | None, scale: float) -> Rect:
    """Return the square around a box, wherever the picture ends; around the whole image the scale is 1."""
    height, width = size
    if box is None:
        box, scale = (0.0, 0.0, float(width), float(height)), 1.0
    x, y, box_width, box_height = _checked(size, box)
    x0, y0, x1, y1 = (min(max(value, -_FAR), _FAR) for value in (x, y, x + box_width, y + box_height))
    side = max(x1 - x0, y1 - y0) * scale
    (left, right), (top, bottom) = _cut(x0, x1 - x0, side, width), _cut(y0, y1 - y0, side, height)
    return left, top, right, bottom


def _on_canvas(cut: Rect, rule: CropRule, input_size: InputSize) -> Placement:
    """Scale a cut with its aspect ratio kept to whole pixels in the center of the input.

    `fit_inside` scales its longer side, compared with the input's aspect ratio, to the input. The others scale the
    shorter one to `padding_scale` of it; what is too long is cut equally at both ends.
    """
    left, top, right, bottom = cut
    height, width = input_size.height, input_size.width
    aspect = 1.0 if rule.mode == "square" else (right - left) / (bottom - top)  # exactly: sizes are rounded by it
    wider = aspect > width / height
    fitted = rule.mode == "fit_inside"
    share = 1.0 if fitted else rule.padding_scale or DEFAULT_PADDING_SCALE
    if wider is fitted:
        new_width = max(1, int(width * share))
        new_height = max(1, round(new_width / aspect) if fitted else int(new_width / aspect))
    else:
        new_height = max(1, int(height * share))
        new_width = max(1, round(new_height * aspect) if fitted else int(new_height * aspect))
    x, y = (width - new_width) // 2, (height - new_height) // 2
    x_scale, y_scale = (right - left) / new_width, (bottom - top) / new_height
    canvas = left - x * x_scale, top - y * y_scale, left + (width - x) * x_scale, top + (height - y) * y_scale
    return Placement(canvas, cut, rule.background or _BLACK)


def _aligned(
    size: tuple[int, int], rule: CropRule, input_size: InputSize, keypoints: Keypoints | None
) -> Placement | None:
    """Return the placement that puts the eyes where the rule says; None where there is no such rule or placement.

    The similarity transform of two points (scale, rotation and shift; Umeyama, 1991, for two points it is exact). The
    eye that is further left in the picture is the left one, so that a data set that names eyes from the person's side
    is not turned upside down. Eyes that are closer than a pixel, or so far out that nothing of the picture would be
    seen, are not used.
    """
    eyes = eye_points(keypoints or {})
    if rule.eyes is None or not eyes:
        return None
    (x0, y0), (x1, y1) = sorted(eyes.values())
    distance = math.hypot(x1 - x0, y1 - y0)
    if not math.isfinite(distance) or distance < 1:
        return None
    width, height = input_size.width, input_size.height
    left, right = ((x * width, y * height) for x, y in rule.eyes)
    scale = distance / math.dist(left, right)
    angle = math.atan2(y1 - y0, x1 - x0) - math.atan2(right[1] - left[1], right[0] - left[0])
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    across, down = width / 2 - (left[0] + right[0]) / 2, height / 2 - (left[1] + right[1]) / 2
    x, y = (x0 + x1) / 2 + cos * across - sin * down, (y0 + y1) / 2 + sin * across + cos * down
    rect = x - scale * width / 2, y - scale * height / 2, x + scale * width / 2, y + scale * height / 2
    picture = (0.0, 0.0, float(size[1]), float(size[0]))
    placement = Placement(rect, picture, rule.background or _BLACK, angle, aligned=True)
    low_x, low_y, high_x, high_y = placement.extent()
    return placement if low_x < size[1] and low_y < size[0] and high_x > 0 and high_y > 0 else None
