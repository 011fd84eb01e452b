"""The header of an encoded image: its size, its EXIF orientation, and rectangles of its stored and upright pixels."""

import contextlib
import ctypes
import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pi_heif import register_heif_opener
from PIL import (  # noqa: F401
    AvifImagePlugin,
    ExifTags,
    Image,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    _imaging,
)

from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.jpeg import colors_of, read_scans
from serving.runtime.image.photo_types import READ, type_of
from serving.runtime.image.webp import check_canvas

Pixels = NDArray[np.uint8]

Rect = tuple[float, float, float, float]
"""A rectangle: left, top, right, bottom in pixels, fractions included."""

DEFAULT_MAX_PIXELS = 100_000_000
"""As many pixels of one image are decoded."""

MAX_JPEG_PIXELS = 500_000_000
"""A JPEG of one scan may have as many: it is decoded small."""

# Pillow is limited to these formats: some of the others (EPS) run programs. `Image.open` with a list of formats
# registers none of them: `preinit` registers the common ones, the imports above AVIF, TIFF and WebP.
Image.preinit()
register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
FORMATS = tuple(photo_type.reader for photo_type in READ)

# The limit of `read_header` replaces Pillow's, which warns without the file's name and refuses what is decoded small.
Image.MAX_IMAGE_PIXELS = None
# What Pillow and libtiff print about a damaged file does not name it. Pixels that are missing raise.
warnings.filterwarnings("ignore", module=r"PIL\.")
with contextlib.suppress(AttributeError, OSError):  # a Pillow without libtiff, or one that hides it
    _libtiff = ctypes.CDLL(_imaging.__file__)
    _libtiff.TIFFSetErrorHandler(None)
    _libtiff.TIFFSetWarningHandler(None)

_NO_EXIF = "the EXIF data cannot be read, so the photo is taken to be upright"
_EMPTY_EXIF_BYTES = 20
_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706

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

    `jpeg` marks the JPEGs: only they are decoded at reduced scales. `format` is Pillow's name of the type. `warning`
    says what of the header could not be read though the pixels may be; "" for a sound one.
    """

    height: int
    width: int
    orientation: int
    jpeg: bool
    format: str
    warning: str = ""

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
    """Read an image's header; raises ImageError when it is not an image that is read, or is too large.

    Too large is what has more than `max_pixels` where it is decoded smallest: a JPEG of one scan at 1/8 (and at most
    MAX_JPEG_PIXELS in full), everything else in full.
    """
    if not data:
        raise ImageError("empty", "the image is empty (0 bytes)")
    check_canvas(data, max_pixels)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:  # Pillow's parsers raise many types on hostile data
        raise ImageError("truncated", f"the image's header is damaged or cut short: {error}") from error
    jpeg = image.format in ("JPEG", "MPO")
    _check_size(data, image.size, max_pixels, jpeg)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image):
        raise _unread("camera raw")
    if image.format == "PNG":
        _add_late_exif(image, data)
    orientation, warning = _orientation(image)
    return Header(image.height, image.width, orientation, jpeg, image.format or "", warning)


def _unidentified(data: bytes) -> ImageError:
    """Return the error about data that no reader takes."""
    photo_type = type_of(data)
    if photo_type is None:
        names = ", ".join(photo_type.name for photo_type in READ)
        return ImageError("not_an_image", f"the data is not an image that can be read; expected one of {names}")
    if not photo_type.reader:
        return _unread(photo_type.name)
    return ImageError("truncated", f"the {photo_type.name} is damaged, cut short or coded in an unusual way")


def _unread(name: str) -> ImageError:
    return ImageError("unsupported", f"photos of the type {name} are not read; convert it to JPEG, PNG or HEIC")


def _check_size(data: bytes, size: tuple[int, int], max_pixels: int, jpeg: bool) -> None:
    width, height = size
    if width * height <= max_pixels:
        return
    # All coefficients of a JPEG of several scans are in memory at once, however small it is decoded.
    if jpeg and read_scans(data, first_only=True).one_pass and colors_of(data) is not None:
        if width * height <= MAX_JPEG_PIXELS and -(-width // 8) * -(-height // 8) <= max_pixels:
            return
        max_pixels = min(MAX_JPEG_PIXELS, 64 * max_pixels)
    raise ImageError(
        "too_large",
        f"the image is {width} x {height} pixels; at most {max_pixels} pixels are accepted, so save it smaller",
    )


def _is_preview(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Tell whether a TIFF's first picture is the small one that cameras put before their raw data."""
    subfile = image.tag_v2.get(_NEW_SUBFILE_TYPE)
    return (isinstance(subfile, int) and bool(subfile & 1)) or _DNG_VERSION in image.tag_v2


def _orientation(image: Image.Image) -> tuple[int, str]:
    """Return the EXIF orientation, 1 where there is none, and a warning when there is EXIF data that cannot be read."""
    if image.format in ("TIFF", "HEIF"):
        return 1, ""  # their readers turn them upright
    try:
        exif = Image.Image.getexif(image)
        value = exif.get(ExifTags.Base.Orientation)
    except Exception:  # the pixels can be used without a valid EXIF block
        return 1, _NO_EXIF
    lost = not exif and len(image.info.get("exif", b"")) > _EMPTY_EXIF_BYTES
    return value if value in _ORIENTATIONS else 1, _NO_EXIF if lost else ""


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
