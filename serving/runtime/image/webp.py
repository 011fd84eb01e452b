"""The canvas of a WebP, read without libwebp, which allocates it when a file is opened."""

import struct

from serving.runtime.errors import ImageError


def check_canvas(data: bytes, max_pixels: int) -> None:
    """Raise ImageError `too_large` for a WebP with more than `max_pixels`; anything else is let through.

    The three kinds of first chunk are those of the container specification of WebP (RFC 9649, sections 2.5 to 2.7).
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return
    data = data[:30].ljust(30, b"\0")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    if width * height > max_pixels:
        raise ImageError(
            "too_large", f"the image is {width} x {height} pixels; at most {max_pixels} pixels are accepted"
        )
