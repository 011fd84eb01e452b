"""The types of photo files: how their names end, how their content begins, and which of them are read."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PhotoType:
    """A type of photo file.

    Attributes:
        name: what people call it.
        suffixes: how the names of its files end, in lower case.
        beginning: a pattern of the first bytes.
        reader: Pillow's name of what reads it; "" where it is not read.
    """

    name: str
    suffixes: tuple[str, ...]
    beginning: re.Pattern[bytes]
    reader: str = ""


def _type(name: str, suffixes: str, beginning: bytes, reader: str = "") -> PhotoType:
    return PhotoType(name, tuple(suffixes.split()), re.compile(beginning, re.DOTALL), reader)


TYPES = (
    _type("JPEG", ".jpg .jpeg .jpe .jfif .mpo", rb"\xff\xd8\xff", "JPEG"),
    _type("PNG", ".png", rb"\x89PNG\r\n\x1a\n", "PNG"),
    _type("BMP", ".bmp", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
    _type("WebP", ".webp", rb"RIFF.{4}WEBP", "WEBP"),
    _type("GIF", ".gif", rb"GIF8[79]a", "GIF"),
    _type("PNM", ".ppm .pgm .pbm .pnm", rb"P[1-6]\s(\s|#[^\n]*\n)*\d", "PPM"),
    _type(
        "camera raw",
        ".dng .cr2 .cr3 .nef .nrw .arw .raf .orf .rw2 .pef .srw",
        rb"II\*\0.{4}CR|FUJIFILMCCD-RAW|IIR[OS]|IIU\0|.{4}ftypcrx ",
    ),
    _type("TIFF", ".tif .tiff", rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF"),
    _type("AVIF", ".avif", rb".{4}ftypavi[fs]", "AVIF"),
    _type("HEIC", ".heic .heif .hif", rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "HEIF"),
    _type("JPEG XL", ".jxl", rb"\xff\x0a|\0\0\0\x0cJXL "),
    _type("JPEG 2000", ".jp2 .j2k .jpx .jpf", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    _type("JPEG XR", ".jxr .wdp .hdp", rb"II\xbc"),
    _type("Photoshop", ".psd", rb"8BPS"),
)

BEGINNING_BYTES = 256
"""As many of a file's first bytes are enough to tell its type."""

BY_SUFFIX = {suffix: photo_type for photo_type in TYPES for suffix in photo_type.suffixes}

READ = tuple(photo_type for photo_type in TYPES if photo_type.reader)


def type_of(data: bytes) -> PhotoType | None:
    """Return the type that a content begins as; None when that is no photo."""
    beginning = data[:BEGINNING_BYTES]
    return next((photo_type for photo_type in TYPES if photo_type.beginning.match(beginning)), None)
