"""Boxes, numbers and labels of faces, drawn on a frame."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from serving.runtime.image.header import Pixels
from serving.runtime.predictor import FaceResult

_MIN_FONT = 9
_GOLDEN = 0.618034


def draw_faces(pixels: Pixels, faces: Sequence[tuple[int, FaceResult]]) -> Pixels:
    """Return a copy of a frame with the boxes of its faces, their numbers, and the best label of every head.

    Lines and letters grow with the frame; a text that is wider than the frame becomes smaller, and one that leaves it
    is moved into it. Each number has a color of its own.

    Args:
        pixels: RGB, uint8 (h, w, 3).
        faces: number and result.
    """
    if not faces:
        return pixels
    picture = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 240))
    for number, face in faces:
        if face.box is not None:
            left, top, width, height = face.box
            canvas.rectangle((left, top, left + width, top + height), outline=color(number), width=line)
    # Texts come last: no box of a neighbor crosses them.
    for number, face in faces:
        _write(canvas, picture.size, number, face)
    return np.asarray(picture)


def caption(number: int, face: FaceResult) -> str:
    """Return the text at a face: its number, and a line with label and percentage for every head."""
    best = (max(head.items(), key=lambda item: item[1]) for head in face.heads.values())
    return "\n".join([f"#{number}", *(f"{label} {probability:.0%}" for label, probability in best)])


def color(number: int) -> tuple[int, int, int]:
    """Return the color of a number, RGB: far from those of the next numbers, and light, for black letters on it."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.5, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _write(canvas: ImageDraw.ImageDraw, size: tuple[int, int], number: int, face: FaceResult) -> None:
    text = caption(number, face)
    letters = max(_MIN_FONT, round(min(size) / 24))
    while True:
        font = _font(letters)
        left, top, right, bottom = canvas.multiline_textbbox((0, 0), text, font=font, spacing=1)
        if right - left + 2 <= size[0] or letters <= _MIN_FONT:
            break
        letters -= 1
    x, y, _, box_height = face.box or (0, 0, *size)
    width, height = right - left + 2, bottom - top + 2
    # Above the box, else below it, and inside the frame in any case.
    x = max(0, min(x, size[0] - width))
    y = y - height if y >= height else max(0, min(y + box_height, size[1] - height))
    canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=color(number))
    canvas.multiline_text((x + 1 - left, y + 1 - top), text, fill="black", font=font, spacing=1)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
