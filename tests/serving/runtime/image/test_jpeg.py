"""JPEGs of which the decoder complains: read when their pixels are there, the same at every scale, else an error."""

import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from encoded_pictures import card, difference, encode, smooth
from PIL import Image

from serving.runtime.errors import ImageError
from serving.runtime.image.decode import decode, decode_with_header
from serving.runtime.image.jpeg import read_scans
from serving.runtime.image.preprocess import decode_crop_resize

PICTURE = smooth(240, 320)
SOUND = {
    "4:4:4": encode(PICTURE),
    "4:2:0": encode(PICTURE, subsampling=2),
    "progressive": encode(PICTURE, progressive=True),
    "restarts": encode(PICTURE, restart_marker_rows=1),
    "gray": encode(Image.fromarray(PICTURE).convert("L")),
    "cmyk": encode(Image.fromarray(PICTURE).convert("CMYK")),
    "turned": encode(PICTURE, orientation=6),
}
THUMBNAIL = b"\xff\xe2\x10\x00" + encode(smooth(48, 64), quality=60)[:4094].ljust(4094, b"\0")


def before_the_end(data: bytes, extra: bytes) -> bytes:
    return data[:-2] + extra + data[-2:]


WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "no end marker": lambda data: data[:-2],
    "half an end marker": lambda data: data[:-1],
    "no end marker, zeros behind": lambda data: data[:-2] + bytes(3000),
    "bytes before the end marker": lambda data: before_the_end(data, b"extra"),
    "bytes behind the end marker": lambda data: data + b"extra" * 100,
    "a picture behind the end marker": lambda data: data + encode(smooth(16, 16)),
    "a thumbnail in front, no end marker": lambda data: data[:2] + THUMBNAIL + data[2:-2],
}
SILENT = {"bytes before the end marker", "bytes behind the end marker", "a picture behind the end marker"}


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("damage", WHOLE)
def test_pixels_that_are_there_are_read_with_a_warning(kind: str, damage: str) -> None:
    data = WHOLE[damage](SOUND[kind])
    for minimum in (0, 100, 1):
        pixels, _, warning = decode_with_header(data, min_height=minimum)
        assert np.array_equal(pixels, decode(SOUND[kind], min_height=minimum))
        assert warning or damage in SILENT
    box = (40.0, 30.0, 100.0, 90.0)
    assert np.array_equal(decode_crop_resize(data, box, card()), decode_crop_resize(SOUND[kind], box, card()))


ENDS = {"no end": b"", "an end": b"\xff\xd9", "zeros": bytes(3000), "zeros and an end": bytes(3000) + b"\xff\xd9"}
# With an end marker, a progressive JPEG of which scans are missing is a whole one of fewer scans.
CUT = [(kind, end) for kind in SOUND for end in ENDS if (kind, end) != ("progressive", "an end")]


@pytest.mark.parametrize(("kind", "end"), CUT)
@pytest.mark.parametrize("share", [0.4, 0.7, 0.93])
def test_a_jpeg_that_is_cut_in_its_pixels_is_truncated(kind: str, end: str, share: float) -> None:
    start = read_scans(SOUND[kind]).start
    data = SOUND[kind][: start + int(share * (len(SOUND[kind]) - start))] + ENDS[end]
    for minimum in (0, 100, 1):
        with pytest.raises(ImageError) as caught:
            decode(data, min_height=minimum)
        assert caught.value.reason == "truncated"


def test_a_hole_of_zeros_is_truncated() -> None:
    data = bytearray(encode(np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)))
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data))


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:0", "restarts", "gray"])
def test_a_damaged_byte_gives_one_decision_at_every_scale(kind: str) -> None:
    """Most damaged bytes cost no block; whoever reads the picture, and however large, decides alike."""
    sound, generator = SOUND[kind], np.random.default_rng(0)
    start, read, warned = read_scans(sound).start, 0, 0
    for _ in range(100):
        data = bytearray(sound)
        data[generator.integers(start, len(data) - 2)] ^= 1 << generator.integers(8)
        answers = set()
        for minimum in (0, 120, 60, 1):
            try:
                answers.add(decode_with_header(bytes(data), min_height=minimum)[2])
            except ImageError as error:
                answers.add(error.reason)
        assert len(answers) == 1, answers
        read += answers != {"truncated"}
        warned += answers not in ({"truncated"}, {""})
    assert read >= 80 and warned >= 5, (read, warned)


def test_a_gray_picture_without_its_end_marker_is_read() -> None:
    data = encode(np.full((64, 64, 3), 128, np.uint8))[:-2]
    assert (decode(data) == 128).all()


def test_scans_of_a_jpeg() -> None:
    for kind, data in SOUND.items():
        scans = read_scans(data)
        assert scans.complete and scans.ended and scans.one_pass == (kind != "progressive"), kind
        first = read_scans(data, first_only=True)
        assert (first.start, first.one_pass, first.ended) == (scans.start, scans.one_pass, False), kind
    progressive = SOUND["progressive"]
    starts = [match.start() for match in re.finditer(rb"\xff\xda", progressive)]
    assert len(starts) == 10 and not read_scans(progressive[: starts[-1]]).complete
    assert not read_scans(b"").complete and not read_scans(SOUND["gray"][:20]).one_pass


def test_reduced_cmyk_is_close_to_the_full_one() -> None:
    full = Image.open(io.BytesIO(SOUND["cmyk"])).convert("RGB")
    assert np.array_equal(decode(SOUND["cmyk"]), np.asarray(full))
    assert difference(decode(SOUND["cmyk"], min_height=60), np.asarray(full.reduce(4))) < 2
