"""The header of an encoded image: its size, its EXIF orientation, and rectangles of its stored and upright pixels."""

import io
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

from serving.runtime.errors import ImageError, InputError

Pixels = NDArray[np.uint8]

Rect = tuple[float, float, float, float]
"""A rectangle: left, top, right, bottom in pixels, fractions included."""

DEFAULT_MAX_PIXELS = 100_000_000

# Pillow is limited to these formats: some of the others (EPS) run programs. `Image.open` with a list of formats
# registers none of them: `preinit` registers the common ones, and the imports above TIFF and WebP.
Image.preinit()
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM", "TIFF")

# EXIF orientation -> how stored pixels become upright ones: transpose, then mirror x, then mirror y.
_ORIENTATIONS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True, slots=True)
class Header:
    """Stored height and width in pixels, and EXIF orientation (1 to 8).

    `turbo` marks the JPEGs that TurboJPEG decodes to RGB; the others (CMYK) are decoded by Pillow.
    """

    height: int
    width: int
    orientation: int
    turbo: bool

    @property
    def transposed(self) -> bool:
        """Whether height and width are swapped when the image is turned upright."""
        return _ORIENTATIONS[self.orientation][0]

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width in pixels of the upright image."""
        return (self.width, self.height) if self.transposed else (self.height, self.width)

    def rect_to_upright(self, rect: Rect) -> Rect:
        """Turn a rectangle (left, top, right, bottom) of stored pixels into one of upright pixels."""
        transpose, mirror_x, mirror_y = _ORIENTATIONS[self.orientation]
        left, top, right, bottom = rect
        if transpose:
            left, top, right, bottom = top, left, bottom, right
        height, width = self.upright
        if mirror_x:
            left, right = width - right, width - left
        if mirror_y:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom

    def to_upright(self, pixels: Pixels) -> Pixels:
        """Turn stored pixels (H, W, 3), or any part of them, upright; a view."""
        transpose, mirror_x, mirror_y = _ORIENTATIONS[self.orientation]
        if transpose:
            pixels = pixels.transpose(1, 0, 2)
        if mirror_x:
            pixels = pixels[:, ::-1]
        return pixels[::-1] if mirror_y else pixels

    def to_stored(self, rect: Rect) -> Rect:
        """Map a rectangle (left, top, right, bottom) from upright to stored pixels."""
        left, top, right, bottom = rect
        height, width = self.upright
        transpose, mirror_x, mirror_y = _ORIENTATIONS[self.orientation]
        if mirror_x:
            left, right = width - right, width - left
        if mirror_y:
            top, bottom = height - bottom, height - top
        return (top, left, bottom, right) if transpose else (left, top, right, bottom)


def clip(rect: Rect, size: tuple[int, int]) -> Rect:
    """Return the part of a rectangle inside an image of `size` (height, width); InputError where there is none."""
    height, width = size
    left, top, right, bottom = rect
    clipped = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):  # also true for NaN
        numbers = ", ".join(f"{value:g}" for value in rect)
        raise InputError(f"the rectangle ({numbers}) lies outside the image, which is {width} x {height} pixels")
    return clipped


def read_header(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Header:
    """Read an image's header; raises ImageError when it is not an image or has more than `max_pixels`."""
    if not data:
        raise ImageError("empty", "the image is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too_large", f"the image has too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            "not_an_image", f"the data is not an image that can be read; expected one of {', '.join(FORMATS)}"
        ) from error
    except Exception as error:  # Pillow's parsers raise many types on hostile data
        raise ImageError("truncated", f"the image's header is damaged or cut short: {error}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            "too_large", f"the image is {width} x {height} pixels; at most {max_pixels} pixels are accepted"
        )
    if image.format == "PNG":
        _add_late_exif(image, data)
    turbo = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
    return Header(height, width, _orientation(image), turbo)


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns TIFF upright itself
    try:
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # the pixels can be used without a valid EXIF block
        return 1
    return value if value in _ORIENTATIONS else 1


def _add_late_exif(image: Image.Image, data: bytes) -> None:
    """Check that a PNG reaches its end chunk, and find EXIF data after the pixels."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            image.info.setdefault("exif", data[position + 8 : position + 8 + length])
        position += 12 + length
        if kind == b"IEND":
            return
    raise ImageError("truncated", "the PNG ends before its last chunk")
