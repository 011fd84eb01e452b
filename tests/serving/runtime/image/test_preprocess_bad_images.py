"""Data that is not an image, or not a whole one: one kind of error with a reason."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from encoded_pictures import COLOR, PALETTE, TABLE, card, encode, smooth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.runtime.errors import ImageError
from serving.runtime.image.decode import decode
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, read_header
from serving.runtime.image.preprocess import decode_crop_resize


def reason(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, **options)
    with pytest.raises(ImageError) as cut:
        decode_crop_resize(data, None, card()) if not options else decode(data, **options)
    assert cut.value.reason == caught.value.reason and str(caught.value)
    return caught.value.reason


def test_reasons() -> None:
    assert reason(b"") == "empty"
    assert reason(b"hello") == "not_an_image"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_an_image"
    assert reason(encode(COLOR)[:-40]) == "truncated"
    assert reason(encode(COLOR, "PNG")[:-40]) == "truncated"
    assert reason(encode(COLOR, "PNG"), max_pixels=48 * 32 - 1) == "too_large"
    assert decode(encode(COLOR, "PNG"), max_pixels=48 * 32).shape == (32, 48, 3)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    data = bytearray(encode(np.zeros((8, 8), np.uint8), "PNG"))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert reason(bytes(data)) == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        encode(smooth(17, 23)),
        encode(smooth(17, 23), progressive=True, orientation=6),
        encode(Image.fromarray(smooth(17, 23)).convert("CMYK")),
        encode(smooth(17, 23), "PNG"),
        encode(PALETTE.resize((9, 9)), "PNG"),
    ],
    ids=["jpeg", "progressive", "cmyk", "png", "palette"],
)
def test_every_truncation_is_an_image_error_unless_all_blocks_are_there(data: bytes) -> None:
    whole = decode(data)
    for length in range(len(data)):
        try:
            pixels = decode(data[:length])
        except ImageError:
            assert reason(data[:length]) in ("empty", "not_an_image", "truncated"), length
        else:
            assert data.startswith(b"\xff\xd8"), "a JPEG without its end marker, or without the end of its last block"
            different = (pixels != whole).any(axis=2)
            different[16:, 16:] = False
            assert not different.any() and length > 0.9 * len(data), length


WHOLE = [data for data, _, _ in TABLE.values()]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from(WHOLE),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=6)), max_size=8),
    keep=st.floats(0.01, 1),
)
def test_damaged_images_decode_or_give_an_image_error(
    data: bytes, edits: list[tuple[float, bytes]], keep: float
) -> None:
    broken = bytearray(data[: max(1, int(len(data) * keep))])
    for place, replacement in edits:
        start = int(place * len(broken))
        broken[start : start + len(replacement)] = replacement
    try:
        pixels = decode(bytes(broken), max_pixels=10_000)
    except ImageError:
        return
    assert pixels.ndim == 3 and pixels.shape[:2] == read_header(bytes(broken), DEFAULT_MAX_PIXELS).upright


MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"P6 ", b"II*\0"]


@settings(max_examples=200, deadline=None)
@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=200))
def test_garbage_is_an_image_error(magic: bytes, rest: bytes) -> None:
    try:
        decode(magic + rest, max_pixels=1000)
    except ImageError:
        return
    assert magic == b"P6 ", "only the plainest format can be hit by chance"
