"""Pictures as ultralytics reads them: with OpenCV, by suffix, and not all of our types."""

import io
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from serving.runtime.image.decode import decode, stored_pixels
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, Header, Pixels, read_header
from serving.runtime.image.jpeg import colors_of

_JPEG_END = b"\xff\xd9"
_EIGHTH = 1
# The same libraries with other settings: a JPEG turned the wrong way, or of other colors, differs by more.
_MAX_DIFFERENCE = 2
# It has readers of its own for TIFF, AVIF and HEIC, and knows no other types of ours.
_SUFFIXES = {"BMP": ".bmp", "PNG": ".png", "WEBP": ".webp"}
# Of zlib's strategies the fastest for photos, and at this level the smallest too.
_PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}


def as_yolo_reads(data: bytes) -> tuple[bytes, str]:
    """Return a picture's file so that ultralytics reads the pixels that `decode` does, and the suffix it needs.

    These are the same bytes where it does so. A JPEG with bytes after its end gets another end marker: it would be
    compressed once more. Everything else becomes a PNG of the upright picture: types that are not read, damaged
    files, colors of print, transparency, and what else OpenCV sees in another way.

    Raises ImageError when the picture cannot be decoded.
    """
    header = read_header(data)
    small = header.height * header.width <= DEFAULT_MAX_PIXELS
    if header.jpeg and small and not header.warning and _same_jpeg(data, header):
        return data if data.endswith(_JPEG_END) else data + _JPEG_END, ".jpg"
    pixels = decode(data)
    if header.format in _SUFFIXES and not header.warning and _same_pixels(data, pixels):
        return data, _SUFFIXES[header.format]
    return png_of(pixels), ".png"


def png_of(pixels: Pixels) -> bytes:
    """Return RGB pixels, uint8 (h, w, 3), as a PNG."""
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "PNG", **_PNG)
    return file.getvalue()


def _same_jpeg(data: bytes, header: Header) -> bool:
    """Tell whether OpenCV decodes the same upright picture; at an eighth of its size, as that is quick."""
    if colors_of(data) != "RGB":
        return False
    pixels, _, warning = stored_pixels(data, header, _EIGHTH, DEFAULT_MAX_PIXELS)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    return not warning and _alike(header.to_upright(pixels), read, _MAX_DIFFERENCE)


def _same_pixels(data: bytes, pixels: Pixels) -> bool:
    """Tell whether Pillow finds the file sound, which ultralytics asks, and OpenCV decodes the same pixels."""
    try:
        Picture.open(io.BytesIO(data)).verify()
    except Exception:  # Pillow's parsers raise many types on damaged data
        return False
    return _alike(pixels, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), 0)


def _alike(rgb: Pixels, bgr: NDArray[Any] | None, most: int) -> bool:
    if bgr is None or bgr.shape != rgb.shape:
        return False
    return int(cv2.absdiff(np.ascontiguousarray(rgb[..., ::-1]), bgr).max()) <= most
