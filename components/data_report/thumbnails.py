"""Thumbnails for a page, as JPEG data URIs."""

import base64
import io

from PIL import Image as Picture
from PIL import ImageDraw

from components.shared.dataset.annotations import Box, Image
from components.shared.dataset.archive import ImageArchive, OtherPictureError
from serving.runtime.card import CropRule, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.header import Rect
from serving.runtime.image.placement import crop_rect
from serving.runtime.image.preprocess import decode_rect_resize

SIDE = 120
"""Longest side in pixels."""

BYTES = 1_300_000
"""Most characters of data URIs on a page."""

_RULE = CropRule(scale=1.8)
_SQUARE = InputSize(height=SIDE, width=SIDE)
_QUALITY = 75
# Subsampled chroma would blur the thin frame.
_NO_SUBSAMPLING = 0
_FRAME = "#ffd400"


class Thumbnails:
    """Makes upright thumbnails of the images of an archive until the page is full.

    `failed` lists the images that could not be shown, with the error; a picture of another data set raises
    OtherPictureError.
    """

    def __init__(self, archive: ImageArchive, max_bytes: int = BYTES) -> None:
        self._archive = archive
        self._left = max_bytes
        self.failed: list[tuple[str, str]] = []

    def whole(self, image: Image) -> str | None:
        """Return the whole image as a data URI; None when it cannot be shown or the page is full."""
        return self.face(image, None)

    def face(self, image: Image, box: Box | None) -> str | None:
        """Return a face with its surroundings and its box drawn, as a data URI; without a box the whole image."""
        if self._left <= 0:
            return None
        upright = image.height, image.width
        try:
            rect = crop_rect(upright, box, _RULE, _SQUARE)
            width, height = rect[2] - rect[0], rect[3] - rect[1]
            scale = SIDE / max(width, height)
            size = InputSize(height=max(8, round(height * scale)), width=max(8, round(width * scale)))
            data = self._archive.read(image.file_name, image.sha256)
            pixels = decode_rect_resize(data, rect, upright, size, 1.0)
        except OtherPictureError:
            raise
        except InputError as error:
            self.failed.append((image.file_name, str(error)))
            return None
        picture = Picture.fromarray(pixels)
        if box is not None:
            _draw(picture, rect, box)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=_QUALITY, subsampling=_NO_SUBSAMPLING, optimize=True)
        uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        self._left -= len(uri)
        return uri if self._left >= 0 else None


def _draw(picture: Picture.Image, rect: Rect, box: Box) -> None:
    """Draw the box one pixel wide, with a dark edge that shows on bright images."""
    left, top, right, bottom = rect
    across, down = picture.width / (right - left), picture.height / (bottom - top)
    x, y, width, height = box
    corners = (
        round((x - left) * across),
        round((y - top) * down),
        min(round((x + width - left) * across), picture.width) - 1,
        min(round((y + height - top) * down), picture.height) - 1,
    )
    if corners[0] + 2 < corners[2] and corners[1] + 2 < corners[3]:
        pen = ImageDraw.Draw(picture)
        pen.rectangle((corners[0] - 1, corners[1] - 1, corners[2] + 1, corners[3] + 1), outline="black")
        pen.rectangle(corners, outline=_FRAME)
