"""Every format, mode and orientation becomes upright RGB."""

import struct
import zlib

import numpy as np
import pytest
from encoded_pictures import COLOR, ORIENTATION, SHOWN, TABLE, card, difference, encode, smooth
from PIL import Image

from serving.runtime.errors import ImageError
from serving.runtime.image.decode import decode, decode_with_header
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, read_header
from serving.runtime.image.preprocess import decode_crop_resize


@pytest.mark.parametrize("name", TABLE)
def test_every_format_and_mode_becomes_rgb(name: str) -> None:
    data, expected, tolerance = TABLE[name]
    pixels = decode(data)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert pixels.shape == (*read_header(data, DEFAULT_MAX_PIXELS).upright, 3)
    assert difference(pixels, expected) <= tolerance
    cut = decode_crop_resize(data, None, card())
    assert cut.shape == (32, 24, 3) and cut.dtype == np.uint8


def test_16_bit_rgb_keeps_the_high_byte() -> None:
    wide = (COLOR.astype(np.uint16) * 256 + 77).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 48, 32, 16, 2, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    assert np.array_equal(decode(data), COLOR)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)),
        Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)),
        Image.new("LAB", (8, 8)),
    ],
    ids=["float", "int32", "lab"],
)
def test_pixels_without_a_known_meaning_are_unsupported(image: Image.Image) -> None:
    with pytest.raises(ImageError) as caught:
        decode(encode(image, "TIFF"))
    assert caught.value.reason == "unsupported"


# --- orientation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    stored = smooth(48, 64)
    upright = SHOWN[orientation](stored)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(stored, kind, orientation, **options)
    assert read_header(data, DEFAULT_MAX_PIXELS).upright == upright.shape[:2]
    assert difference(decode(data), upright) <= (2 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", SHOWN)
def test_tagged_jpeg_equals_its_upright_twin(orientation: int) -> None:
    stored = smooth(480, 641)
    tagged = encode(stored, orientation=orientation)
    twin = encode(np.ascontiguousarray(SHOWN[orientation](stored)))
    height, width = read_header(twin, DEFAULT_MAX_PIXELS).upright
    for box in (None, (30.5, 40.25, 100.0, 120.0), (width - 90.0, height - 70.0, 90.0, 70.0)):
        ours, theirs = decode_crop_resize(tagged, box, card()), decode_crop_resize(twin, box, card())
        assert difference(ours, theirs) < 1.0
        assert difference(ours, theirs[::-1]) > 5.0


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_ignored(orientation: int) -> None:
    assert read_header(encode(smooth(8, 16), orientation=orientation), DEFAULT_MAX_PIXELS).upright == (8, 16)


def test_broken_exif_is_ignored() -> None:
    sound = encode(smooth(8, 16), orientation=1)
    assert decode_with_header(sound)[2] == decode_with_header(encode(smooth(8, 16), exif=b"Exif\0\0"))[2] == ""
    for nonsense in (b"II*\0\xff\xff\xff\xffnonsense", b"MM\0*\0\0\0\x08\0\x09\1", b"XX and other text"):
        pixels, _, warning = decode_with_header(encode(smooth(8, 16), exif=b"Exif\0\0" + nonsense.ljust(30)))
        assert pixels.shape == (8, 16, 3) and "EXIF data cannot be read" in warning


def test_png_orientation_after_the_pixels_counts() -> None:
    data = encode(smooth(8, 16), "PNG")
    body = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", ORIENTATION, 3, 1, 6) + b"\0\0\0\0"
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    end = data.index(b"IEND") - 4
    assert read_header(data[:end] + chunk + data[end:], DEFAULT_MAX_PIXELS).upright == (16, 8)


def test_header_is_enough_for_the_size() -> None:
    data = encode(smooth(40, 30), orientation=8)
    assert read_header(data[: len(data) // 2], DEFAULT_MAX_PIXELS).upright == (30, 40)
    assert read_header(data, 10_000).jpeg
