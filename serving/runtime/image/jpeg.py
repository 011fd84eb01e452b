"""JPEGs by TurboJPEG: sound ones, those of which it complains though the pixels are there, and those that are cut."""

import contextlib
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from serving.runtime.errors import ImageError

MAX_MISSING = 0.01
"""The share of its 8 x 8 blocks that a damaged JPEG may lack.

Of 1,200 single bits that were flipped in the pixel data of 60 photos, 924 pass unnoticed and 276 make the decoder warn;
of these, 268 lack fewer blocks than this, and most of them none. A photo that lacks more was cut off.
"""

Colors = Literal["RGB", "CMYK"]

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
# A JPEG of 500 scans with a table before each has about a thousand.
_MOST_MARKERS = 10_000
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_EOI, _SOS = 0xD9, 0xDA
_END = bytes((0xFF, _EOI))
# A block of a disk or of a download that was never written.
_HOLE = bytes(512)


@dataclass(frozen=True, slots=True)
class Scans:
    """What the markers of a JPEG say about its pixel data (ITU-T T.81, annex B).

    Attributes:
        start: where the first scan begins.
        one_pass: whether one scan holds everything, so that a decoder needs no memory for the whole image.
        complete: whether every coefficient of every component is in some scan, to its last bit.
        ended: whether the end marker follows the last scan.
    """

    start: int
    one_pass: bool
    complete: bool
    ended: bool


def read_scans(data: bytes, *, first_only: bool = False) -> Scans:
    """Read the markers up to the end marker, a bounded number of them; damaged ones are passed over.

    With `first_only` just up to the first scan, which says `start` and `one_pass`: the pixel data, which it does not go
    through, is nearly all of a JPEG.
    """
    progressive = one_pass = ended = False
    start = 0
    missing: dict[int, set[int]] = {}
    position = 2
    for _ in range(_MOST_MARKERS):
        match = None if ended or (first_only and start) else _MARKER.search(data, position)
        if match is None:
            break
        marker, position = match[1][0], match.end()
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if marker == _EOI:
            ended = True
        elif marker in _SOF:
            progressive = marker in _PROGRESSIVE
            missing = {component: set(range(64)) for component in segment[6::3]}
        elif marker == _SOS and len(segment) >= 6:
            components = segment[1:-3:2]
            if not start:
                start, one_pass = position + length, not progressive and len(components) == len(missing)
            first, last, bits = segment[-3:]
            sent = range(first, last + 1) if progressive else range(64)
            for component in components if not progressive or bits & 0x0F == 0 else ():
                missing.get(component, set()).difference_update(sent)
        position += length
    return Scans(start, one_pass, complete=bool(start) and not any(missing.values()), ended=ended)


def colors_of(data: bytes) -> Colors | None:
    """Return the colors that TurboJPEG decodes a JPEG to; None when it does not read its chroma subsampling."""
    try:
        _, _, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: without a whole header, when warnings are no errors
        return None
    return "CMYK" if colorspace in ("CMYK", "YCCK") else "RGB"


def decode_jpeg(data: bytes, height: int, width: int, colors: Colors) -> tuple[NDArray[np.uint8], str]:
    """Decode a JPEG at the smallest scale with at least `height` and `width`, uint8 (H, W, 3), or (H, W, 4) for CMYK.

    Returns the pixels, and the decoder's warning about a JPEG that is damaged but has its pixels, "" for a sound one.
    One without its end marker is such a JPEG when nothing else is missing, and so is one of whose blocks at most
    MAX_MISSING are missing. That does not depend on the scale.

    Raises:
        ImageError: `truncated`: more is missing, or the decoder gives up.
    """
    try:
        return simplejpeg.decode_jpeg(data, colors, min_height=height, min_width=width), ""
    except ValueError as error:
        warning = str(error)
    try:
        data = _with_pixels(data, colors)
        return simplejpeg.decode_jpeg(data, colors, min_height=height, min_width=width, strict=False), warning
    except ValueError as error:
        raise ImageError("truncated", f"the JPEG is damaged or cut short: {warning}") from error


def _with_pixels(data: bytes, colors: Colors) -> bytes:
    """Return a damaged JPEG with its end marker; raises ValueError when pixels are missing."""
    scans = read_scans(data)
    if not scans.ended:
        if not scans.complete:
            raise ValueError("scans are missing")
        for ended in (data + _END, data.rstrip(b"\0") + _END):
            with contextlib.suppress(ValueError):
                simplejpeg.decode_jpeg(ended, colors, min_height=1, min_width=1)
                return ended
        if not scans.one_pass:
            raise ValueError("the last scan is cut short")
        data = ended
    if _HOLE in data[scans.start :]:
        raise ValueError("a part of its pixels are zeros")
    missing = _missing_share(data, colors)
    if missing > MAX_MISSING:
        raise ValueError(f"{missing:.0%} of the blocks are missing")
    return data


def _missing_share(data: bytes, colors: Colors) -> float:
    """Return the share of blocks that the decoder filled with the middle gray, having no data for them.

    That is 128, in inverted colors 127. At a quarter of the size a block is 2 x 2 pixels; flat blocks of a photo
    rarely have that very gray.
    """
    height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    quarter = {"min_height": -(-height // 4), "min_width": -(-width // 4)}
    pixels = simplejpeg.decode_jpeg(data, colors, **quarter, strict=False)
    gray = ((pixels == 128) | (pixels == 127)).all(axis=2)
    blocks = gray[::2, ::2].copy()
    for row, column in ((0, 1), (1, 0), (1, 1)):
        part = gray[row::2, column::2]
        blocks[: part.shape[0], : part.shape[1]] &= part
    return float(blocks.mean())
