"""Thumbnails for a page, as JPEG data URIs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as Picture
from PIL import ImageDraw

from components.shared.dataset.annotations import Box, Image
from components.shared.dataset.archive import OtherPictureError
from components.shared.dataset.pictures import Pictures
from serving.runtime.card import CropRule, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.header import Rect
from serving.runtime.image.placement import crop_rect
from serving.runtime.image.preprocess import decode_rect_resize

SIDE = 120
"""Longest side in pixels by default."""

BYTES = 1_300_000
"""Most characters of data URIs on a page by default."""

FRAME = "#ffd400"
"""Color of a box by default."""

_RULE = CropRule(scale=1.8)
_EXACT = CropRule(scale=1.0)
_QUALITY = 75
# Subsampled chroma would blur the thin frame.
_NO_SUBSAMPLING = 0


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a page: its data URI, None when it is not shown, the name of the image, and lines below it."""

    uri: str | None
    name: str
    caption: list[str]


class Thumbnails:
    """Makes upright thumbnails of pictures until the page is full.

    `failed` lists the images that could not be shown, with the error; a picture of another data set raises
    OtherPictureError.
    """

    def __init__(self, pictures: Pictures, max_bytes: int = BYTES, side: int = SIDE) -> None:
        self._pictures = pictures
        self._left = max_bytes
        self._side = side
        self.failed: list[tuple[str, str]] = []

    def whole(self, image: Image, marks: Sequence[tuple[Box, str]] = ()) -> str | None:
        """Return the whole image as a data URI, with boxes drawn in their colors.

        None when it cannot be shown or the page is full.
        """
        return self._uri(image, None, marks)

    def face(self, image: Image, box: Box | None) -> str | None:
        """Return a face with its surroundings and its box drawn, as a data URI; without a box the whole image."""
        return self._uri(image, box, [(box, FRAME)] if box is not None else [])

    def part(self, image: Image, part: Box, marks: Sequence[tuple[Box, str]]) -> str | None:
        """Return a part of the image, cut where the image ends, with boxes drawn in their colors, as a data URI."""
        return self._uri(image, part, marks, _EXACT, line=2)

    def _uri(
        self, image: Image, box: Box | None, marks: Sequence[tuple[Box, str]], rule: CropRule = _RULE, line: int = 1
    ) -> str | None:
        if self._left <= 0:
            return None
        upright = image.height, image.width
        try:
            rect = crop_rect(upright, box, rule, InputSize(height=self._side, width=self._side))
            width, height = rect[2] - rect[0], rect[3] - rect[1]
            scale = self._side / max(width, height)
            size = InputSize(height=max(8, round(height * scale)), width=max(8, round(width * scale)))
            data = self._pictures.read(image.file_name, image.sha256)
            pixels = decode_rect_resize(data, rect, upright, size, 1.0)
        except OtherPictureError:
            raise
        except InputError as error:
            self.failed.append((image.file_name, str(error)))
            return None
        picture = Picture.fromarray(pixels)
        for mark, color in marks:
            _draw(picture, rect, mark, color, line)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=_QUALITY, subsampling=_NO_SUBSAMPLING, optimize=True)
        uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        self._left -= len(uri)
        return uri if self._left >= 0 else None


def _draw(picture: Picture.Image, rect: Rect, box: Box, color: str, line: int) -> None:
    """Draw a box of an image whose part `rect` fills the picture."""
    left, top, right, bottom = rect
    across, down = picture.width / (right - left), picture.height / (bottom - top)
    x, y, width, height = box
    draw_box(picture, ((x - left) * across, (y - top) * down, width * across, height * down), color, line)


def draw_box(picture: Picture.Image, box: Box, color: str, line: int = 1) -> None:
    """Draw a box of a picture, `line` pixels wide inside it, with a dark edge that shows on bright pictures."""
    x, y, width, height = box
    left, top = max(round(x), 0), max(round(y), 0)
    right, bottom = min(round(x + width), picture.width) - 1, min(round(y + height), picture.height) - 1
    if left + 2 * line < right and top + 2 * line < bottom:
        pen = ImageDraw.Draw(picture)
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black")
        pen.rectangle((left, top, right, bottom), outline=color, width=line)
