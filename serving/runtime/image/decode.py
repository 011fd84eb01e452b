"""Decoding: from image bytes to upright RGB pixels, a JPEG at the smallest scale that is still large enough."""

import io

import numpy as np
from PIL import Image

from serving.runtime.errors import ImageError
from serving.runtime.image.decode_cost import check_scans
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, FORMATS, Header, Pixels, read_header
from serving.runtime.image.jpeg import colors_of, decode_jpeg

REDUCTIONS = (1, 2, 4, 8)
"""The eighths at which JPEGs are decoded. TurboJPEG has slow code for the others: even 5/8 takes longer than 8/8."""

# Pixels that are turned into RGB at a time: the whole picture is in memory twice, not five times.
_STRIP_PIXELS = 2**20


def decode(data: bytes, *, min_height: int = 0, min_width: int = 0, max_pixels: int = DEFAULT_MAX_PIXELS) -> Pixels:
    """Decode an image to upright RGB, uint8 (H, W, 3).

    The content decides the type: JPEG, PNG, BMP, WebP, GIF (first frame), PNM, TIFF (first page), AVIF and HEIC are
    read. Gray and palette images become RGB, 16-bit samples keep their high byte, transparency is composed on white,
    color profiles are ignored. With `min_height` or `min_width` above 0 a JPEG is decoded at the smallest of the
    REDUCTIONS whose upright size is at least that large on both sides (in full when the image itself is smaller);
    other types are decoded in full. A JPEG is never decoded to more than `max_pixels`: a larger one comes smaller.

    Raises:
        ImageError: `empty`, `not_an_image`, `truncated` (or damaged), `too_large` or `unsupported`.
    """
    return decode_with_header(data, min_height=min_height, min_width=min_width, max_pixels=max_pixels)[0]


def decode_with_header(
    data: bytes, *, min_height: int = 0, min_width: int = 0, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[Pixels, Header, str]:
    """Decode an image as `decode` does; returns its header, and what of a damaged one could not be read, too.

    Of a sound image the last is "".
    """
    header = read_header(data, max_pixels)
    eighths = 8
    if min_height > 0 or min_width > 0:
        height, width = header.upright
        eighths = next(
            (n for n in REDUCTIONS if _scaled(height, n) >= min_height and _scaled(width, n) >= min_width), 8
        )
    pixels, _, warning = stored_pixels(data, header, eighths, max_pixels)
    return np.ascontiguousarray(header.to_upright(pixels)), header, warning or header.warning


def stored_pixels(data: bytes, header: Header, eighths: int, max_pixels: int) -> tuple[Pixels, float, str]:
    """Decode to RGB (H, W, 3) as stored; returns the scale of the stored size and the decoder's warning too.

    A JPEG is decoded at `eighths`/8 (1 to 8) by its DCT, or smaller to have at most `max_pixels`; every other image at
    scale 1.

    Raises:
        ImageError: `truncated` (or damaged) or `unsupported`.
    """
    check_scans(data, header)
    colors = colors_of(data) if header.jpeg else None
    if colors is None:
        return _pillow_pixels(data), 1.0, ""
    while eighths > 1 and _scaled(header.height, eighths) * _scaled(header.width, eighths) > max_pixels:
        eighths //= 2
    # Below 8 pixels several scales give the same size, so the scale could not be told from the result.
    if max(header.height, header.width) < 8:
        eighths = 8
    height, width = _scaled(header.height, eighths), _scaled(header.width, eighths)
    pixels, warning = decode_jpeg(data, height, width, colors)
    assert pixels.shape[:2] == (height, width), (pixels.shape, header, eighths)
    if colors == "CMYK":  # its inks are stored inverted
        pixels = np.asarray(Image.fromarray(255 - pixels, "CMYK").convert("RGB"))
    return pixels, eighths / 8, warning


def _pillow_pixels(data: bytes) -> Pixels:
    image: Image.Image
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()
    except Exception as error:  # Pillow's decoders raise many types on hostile data
        raise ImageError("truncated", f"the image is damaged or cut short: {error}") from error
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if image.mode in ("I", "F", "LAB") and not deep:
        raise ImageError(
            "unsupported", f"images of mode {image.mode} are not read; save it as RGB or gray, 8 or 16 bit"
        )
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    try:
        for top in range(0, image.height, rows):
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
            pixels[top : top + rows] = np.asarray(_rgb(strip, high_byte=deep))
    except ValueError as error:
        raise ImageError("unsupported", f"images of mode {image.mode} cannot be turned into RGB") from error
    return pixels


def _rgb(image: Image.Image, *, high_byte: bool) -> Image.Image:
    """Turn a part of an image into RGB; `high_byte` keeps that of 16-bit samples."""
    if high_byte:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _scaled(length: int, eighths: int) -> int:
    """Return the number of pixels that a JPEG side of `length` has at `eighths`/8."""
    return -(-length * eighths // 8)
