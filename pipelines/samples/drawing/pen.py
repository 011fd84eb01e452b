"""A pen for small drawn pictures: filled shapes and strokes in picture coordinates, smoothed by drawing them larger.

Coordinates are those of a finished picture of `WIDTH` x `HEIGHT` pixels, x to the right and y down. A larger canvas has
more room to the right and below.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 96, 128
SCALE = 3
Color = tuple[int, int, int]
Point = tuple[float, float]


class Pen:
    """Draws filled shapes and strokes in picture coordinates, tilted about the face's center, then shifted."""

    def __init__(
        self, wall: Color, *, tilt: float, zoom: float, shift: Point, size: tuple[int, int] = (WIDTH, HEIGHT)
    ) -> None:
        self.image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), wall)
        self.canvas = ImageDraw.Draw(self.image)
        self.zoom = zoom
        # (x, y) lands at origin + (cos x - sin y, sin x + cos y): tilt and zoom leave the face's center in place.
        self.cos, self.sin = zoom * SCALE * math.cos(math.radians(tilt)), zoom * SCALE * math.sin(math.radians(tilt))
        center_x, center_y = 48, 68
        self.origin = (
            SCALE * (center_x + shift[0]) - self.cos * center_x + self.sin * center_y,
            SCALE * (center_y + shift[1]) - self.sin * center_x - self.cos * center_y,
        )

    def place(self, points: Sequence[Point]) -> list[Point]:
        """The points on the large canvas."""
        (left, top), cos, sin = self.origin, self.cos, self.sin
        return [(left + cos * x - sin * y, top + sin * x + cos * y) for x, y in points]

    def fill(self, points: Sequence[Point], color: Color) -> None:
        """Fills a polygon."""
        self.canvas.polygon(self.place(points), fill=color)

    def stroke(self, points: Sequence[Point], color: Color, width: float) -> None:
        """Draws a line through the points, `width` pixels of the finished picture wide."""
        pixels = max(1, round(width * SCALE * self.zoom))
        self.canvas.line(self.place(points), fill=color, width=pixels, joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """Fills an upright ellipse."""
        turns = [2 * math.pi * step / 24 for step in range(24)]
        self.fill([(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns], color)


def mix(a: Color, b: Color, share: float) -> Color:
    """Color between `a` and `b`; `share` 0 is `a`, 1 is `b`."""
    red, green, blue = (round(left + (right - left) * share) for left, right in zip(a, b, strict=True))
    return red, green, blue


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 14) -> list[Point]:
    """Points of an ellipse between two angles in degrees, 0 to the right and 90 down."""
    turns = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns]
