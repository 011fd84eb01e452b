"""What decoding an image costs, told from its header: few bytes can stand for many pixels and for much work."""

from serving.runtime.errors import ImageError
from serving.runtime.image.header import Header
from serving.runtime.image.jpeg import colors_of, read_scans

# Bytes per pixel at the peak of decoding, by Pillow's format: the decoder's own buffers, Pillow's image of at most 4
# bytes and RGB of 3. Measured on each format's worst mode.
_BYTES_PER_PIXEL = {"WEBP": 17, "AVIF": 17, "HEIF": 17}
_OTHER_BYTES_PER_PIXEL = 8
_JPEG_BYTES_PER_PIXEL = {"RGB": 3, "CMYK": 16}
# All coefficients of a JPEG of several scans are in memory at once: 2 bytes each, 3 components.
_SCANS_BYTES_PER_PIXEL = 6
# A cut is copied into Pillow's image of 4 bytes a pixel, by way of 3 where the image is turned.
_CUT_BYTES_PER_PIXEL = 7

# The bytes of a scan's header: its marker, and with up to 4 components.
_SHORTEST_SCAN = 10
_LONGEST_SCAN_HEADER = 16

MAX_SCAN_PIXELS = 3_200_000_000
"""Pixels times scans of a JPEG. A scan of nothing but skipped blocks costs some 20 ns for 64 pixels: 1 s in all."""


def check_memory(data: bytes, header: Header, scale: float, cut_pixels: float, max_memory: int) -> None:
    """Raise ImageError `too_large` when decoding at a scale and copying a cut takes more than `max_memory` bytes.

    `cut_pixels` is the area of the cut in pixels of the image at scale 1.
    """
    stored = header.height * header.width
    colors = colors_of(data) if header.jpeg else None
    if colors is None:
        scale = 1.0
        decoding = float(_BYTES_PER_PIXEL.get(header.format, _OTHER_BYTES_PER_PIXEL) * stored)
    else:
        decoding = _JPEG_BYTES_PER_PIXEL[colors] * scale**2 * stored
    if header.jpeg and not read_scans(data, first_only=True).one_pass:
        decoding += _SCANS_BYTES_PER_PIXEL * stored
    memory = max(decoding, scale**2 * (3 * stored + _CUT_BYTES_PER_PIXEL * cut_pixels))
    if memory > max_memory:
        raise ImageError(
            "too_large",
            f"decoding this {header.format} of {header.width} x {header.height} pixels takes {memory / 2**20:.0f} MiB; "
            f"{max_memory / 2**20:.0f} MiB are allowed, so send it smaller, or as an ordinary JPEG",
        )


def check_scans(data: bytes, header: Header) -> None:
    """Raise ImageError `too_large` for a JPEG that goes over its pixels too often."""
    if not header.jpeg:
        return
    most = max(1, MAX_SCAN_PIXELS // (header.height * header.width))
    if len(data) > most * _SHORTEST_SCAN and (scans := _scans(data)) > most:
        raise ImageError(
            "too_large",
            f"this JPEG of {header.width} x {header.height} pixels has {scans} scans; at most {most} are decoded, so "
            "save it again as an ordinary JPEG",
        )


def _scans(data: bytes) -> int:
    """Count the scans of a JPEG; the thumbnails in the segments before the first are not counted."""
    # Pixel data has no 0xFF that could begin a marker.
    return data.count(b"\xff\xda", max(0, read_scans(data, first_only=True).start - _LONGEST_SCAN_HEADER))
