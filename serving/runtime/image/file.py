"""An encoded image: what its header says, and its pixels as they are stored (not yet turned upright)."""

import io
import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from serving.runtime.errors import ImageError

Rect = tuple[float, float, float, float]
Pixels = NDArray[np.uint8]

# Pillow is held to these formats: some of the others (EPS) run programs.
_FORMATS = tuple(
    str(plugin.format)
    for plugin in (
        JpegImageFile,
        PngImageFile,
        BmpImageFile,
        WebPImageFile,
        GifImageFile,
        PpmImageFile,
        TiffImageFile,
    )
)

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
    """What an image says before its pixels: stored height and width in pixels, and its EXIF orientation (1 to 8).

    `turbo` marks the JPEGs that TurboJPEG turns into RGB; the others (CMYK) are left to Pillow.
    """

    height: int
    width: int
    orientation: int
    turbo: bool

    @property
    def transposed(self) -> bool:
        """Whether height and width change places when the image is turned upright."""
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


def read_header(data: bytes, max_pixels: int) -> Header:
    """Read an image's header; raises ImageError when it is not an image or has more than `max_pixels`."""
    if not data:
        raise ImageError("empty", "the image is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too_large", f"the image has too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            "not_an_image", f"the data is not an image that can be read; expected one of {', '.join(_FORMATS)}"
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
    except Exception:  # a broken EXIF block does not make the pixels worse
        return 1
    return value if value in _ORIENTATIONS else 1


def _add_late_exif(image: Image.Image, data: bytes) -> None:
    """Check that a PNG reaches its end chunk, and find EXIF that stands after the pixels."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            image.info.setdefault("exif", data[position + 8 : position + 8 + length])
        position += 12 + length
        if kind == b"IEND":
            return
    raise ImageError("truncated", "the PNG ends before its last chunk")


def stored_pixels(data: bytes, header: Header, eighths: int) -> tuple[Pixels, float]:
    """Decode to RGB (H, W, 3) as stored, and say at which scale of the stored size.

    A JPEG is decoded at `eighths`/8 (1 to 8) by its DCT, every other image at scale 1.

    Raises:
        ImageError: `truncated` (or damaged) or `unsupported`.
    """
    if not (header.turbo and _turbo_can(data)):
        return _pillow_pixels(data), 1.0
    # Below 8 pixels several scales give the same size, so the scale could not be told from the result.
    if max(header.height, header.width) < 8:
        eighths = 8
    height, width = scaled_length(header.height, eighths), scaled_length(header.width, eighths)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except ValueError as error:
        raise ImageError("truncated", f"the JPEG is damaged or cut short: {error}") from error
    assert pixels.shape == (height, width, 3), (pixels.shape, header, eighths)
    return pixels, eighths / 8


def _turbo_can(data: bytes) -> bool:
    """Whether TurboJPEG knows this JPEG's chroma subsampling; the rare others are left to Pillow."""
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return True


def _pillow_pixels(data: bytes) -> Pixels:
    image: Image.Image
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        image.load()
    except Exception as error:  # Pillow's decoders raise many types on hostile data
        raise ImageError("truncated", f"the image is damaged or cut short: {error}") from error
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F", "LAB"):
        raise ImageError(
            "unsupported", f"images of mode {image.mode} are not read; save it as RGB or gray, 8 or 16 bit"
        )
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise ImageError("unsupported", f"images of mode {image.mode} cannot be turned into RGB") from error


def scaled_length(length: int, eighths: int) -> int:
    """Give the number of pixels that a JPEG side of `length` has at `eighths`/8."""
    return -(-length * eighths // 8)
