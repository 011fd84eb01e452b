"""Types of photos: told by their content, read or named in the error; how large they may be; and nothing is printed."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from encoded_pictures import (
    COLOR,
    SHOWN,
    card,
    difference,
    encode,
    half_transparent,
    laid_on_white,
    smooth,
)
from heic_pictures import heic
from PIL import Image

from serving.runtime.errors import ImageError
from serving.runtime.image.decode import decode
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, read_header
from serving.runtime.image.photo_types import BY_SUFFIX, TYPES, type_of
from serving.runtime.image.preprocess import decode_crop_resize

READ = {
    "heic": (heic(COLOR), COLOR, 4),
    "heic rgba": (heic(half_transparent("RGBA")), laid_on_white(COLOR), 4),
    "heic gray": (heic(Image.fromarray(COLOR[..., 0])), np.stack([COLOR[..., 0]] * 3, axis=2), 4),
    "avif": (encode(COLOR, "AVIF", quality=95, subsampling="4:4:4"), COLOR, 4),
    "avif rgba": (encode(half_transparent("RGBA"), "AVIF", quality=95), laid_on_white(COLOR), 6),
    "pbm": (encode(Image.fromarray(COLOR[..., 0] > 127), "PPM"), np.stack([COLOR[..., 0] > 127] * 3, axis=2) * 255, 0),
    "mpo": (encode(COLOR, "MPO", save_all=True, append_images=[Image.fromarray(COLOR[::-1])]), COLOR, 5),
}


@pytest.mark.parametrize("kind", READ)
def test_more_types_become_rgb(kind: str) -> None:
    data, expected, tolerance = READ[kind]
    pixels = decode(data)
    assert pixels.dtype == np.uint8 and pixels.shape == (*read_header(data).upright, 3)
    assert difference(pixels, expected) <= tolerance
    assert decode_crop_resize(data, None, card()).shape == (32, 24, 3)


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_turned_photo_is_turned_once(kind: str, orientation: int) -> None:
    stored = smooth(48, 64)
    upright = SHOWN[orientation](stored)
    data = heic(stored, orientation) if kind == "HEIC" else encode(stored, "AVIF", orientation, quality=95)
    assert read_header(data).upright == upright.shape[:2]
    assert difference(decode(data), upright) <= 5


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_every_truncation_of_a_container_is_an_image_error(kind: str) -> None:
    data = READ[kind][0]
    for length in range(0, len(data), 7):
        with pytest.raises(ImageError) as caught:
            decode(data[:length])
        assert caught.value.reason in ("empty", "not_an_image", "truncated"), length


def tiff(tags: dict[int, int]) -> bytes:
    """A TIFF of 8 x 8 gray pixels with more tags, each a LONG."""
    image = Image.new("L", (8, 8))
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()


UNREAD = {
    "camera raw": [
        b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0" + bytes(9),
        b"IIU\0\x18\0\0\0" + bytes(9),
        b"\0\0\0\x18ftypcrx \0\0\0\1",
        tiff({254: 1}),
        tiff({50706: 0x00000401}),
    ],
    "JPEG XL": [b"\xff\x0a" + bytes(9), b"\0\0\0\x0cJXL \r\n\x87\n"],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51" + bytes(9), encode(COLOR, "JPEG2000")],
    "JPEG XR": [b"II\xbc\1" + bytes(9)],
    "Photoshop": [b"8BPS\0\1" + bytes(9)],
}


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, contents in UNREAD.items() for data in contents])
def test_a_type_that_is_not_read_is_named_with_what_to_do(name: str, data: bytes) -> None:
    with pytest.raises(ImageError, match=f"{name} are not read; convert it to JPEG") as caught:
        decode(data)
    assert caught.value.reason == "unsupported"


def test_a_page_of_a_tiff_whose_kind_is_nonsense_is_read() -> None:
    assert decode(tiff({254: 0})).shape == (8, 8, 3)
    as_text = tiff({254: 0}).replace(b"\xfe\0\4\0\1\0\0\0", b"\xfe\0\2\0\1\0\0\0")
    assert Image.open(io.BytesIO(as_text)).tag_v2[254] == ""
    assert decode(as_text).shape == (8, 8, 3)


def test_contents_are_told_by_their_beginning() -> None:
    found = {kind: type_of(data) for kind, (data, _, _) in READ.items()}
    names = {kind: photo_type and photo_type.name for kind, photo_type in found.items()}
    assert names == {
        "heic": "HEIC", "heic rgba": "HEIC", "heic gray": "HEIC", "avif": "AVIF", "avif rgba": "AVIF", "pbm": "PNM",
        "mpo": "JPEG",
    }  # fmt: skip
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM", "TIFF"):
        photo_type = type_of(encode(COLOR, kind))
        assert photo_type is not None and photo_type.reader == kind
    for text in (
        b"",
        b"PK\3\4",
        b"BMW, Audi\n1,2\n",
        b"P1 is a person",
        b"path,label\n",
        b"%PDF-1.7",
        b"MZ\x90\0",
        b"{}",
    ):
        assert type_of(text) is None, text
    documented = (Path(__file__).parents[4] / "docs" / "data.md").read_text()
    assert [suffix for suffix in BY_SUFFIX if f"`{suffix}`" not in documented] == []
    assert len(BY_SUFFIX) == sum(len(photo_type.suffixes) for photo_type in TYPES)


# --- size ----------------------------------------------------------------------------------------------------------


def with_size(jpeg: bytes, height: int, width: int) -> bytes:
    """Write another size into a baseline or progressive JPEG's header."""
    start = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


def test_photos_of_108_megapixels_are_read_small() -> None:
    data = encode(np.broadcast_to(np.uint8([[200]]), (9000, 12000)), quality=50)
    assert read_header(data).upright == (9000, 12000)
    pixels = decode(data, min_height=128, min_width=128)
    assert pixels.shape == (1125, 1500, 3) and np.abs(pixels.astype(int) - 200).max() <= 1
    assert decode_crop_resize(data, (6000.0, 4000.0, 90.0, 120.0), card()).shape == (32, 24, 3)


@pytest.mark.parametrize("size", [(12240, 16320), (16384, 16384), (65500, 7600)])
def test_one_scan_may_have_up_to_500_megapixels(size: tuple[int, int]) -> None:
    assert read_header(with_size(encode(COLOR), *size)).upright == size


@pytest.mark.parametrize(
    "data",
    [
        with_size(encode(COLOR), 23000, 23000),
        with_size(encode(COLOR, progressive=True), 9000, 12000),
        encode(Image.new("1", (12000, 9000)), "PNG"),
    ],
    ids=["too large", "progressive", "png"],
)
def test_what_needs_too_much_memory_is_too_large(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"12000 x 9000|23000 x 23000.*save it smaller") as caught:
        read_header(data, DEFAULT_MAX_PIXELS)
    assert caught.value.reason == "too_large"


def test_no_more_is_decoded_than_the_limit() -> None:
    data, picture = encode(smooth(240, 320)), smooth(240, 320)
    for limit, scale in ((76800, 1), (76799, 2), (19200, 2), (19199, 4), (1200, 8)):
        pixels = decode(data, max_pixels=limit)
        assert difference(pixels, np.asarray(Image.fromarray(picture).reduce(scale))) < 2
    with pytest.raises(ImageError, match="at most 76736 pixels"):
        decode(data, max_pixels=1199)


# --- what is printed -----------------------------------------------------------------------------------------------


def damaged(data: bytes, seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    broken = bytearray(data)
    for position in generator.integers(8, len(broken), 12):
        broken[position] = generator.integers(256)
    return bytes(broken[: generator.integers(len(broken) // 2, len(broken) + 1)])


def test_nothing_is_printed_about_damaged_images(tmp_path: Path) -> None:
    """Decoders written in C print past Python, so another process decodes and its output is looked at."""
    palette = Image.fromarray(COLOR).quantize(16)
    whole = [
        *(encode(COLOR, "TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits", "raw")),
        encode(palette, "PNG", transparency=bytes(range(16))),
        encode(palette, "GIF", transparency=3),
        encode(COLOR, orientation=6),
        encode(COLOR, exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense"),
        encode(COLOR, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\1\3\0"),
        encode(Image.new("1", (9500, 9500)), "PNG"),
        *(data for data, _, _ in READ.values()),
    ]
    for number, data in enumerate(whole):
        for seed in range(6):
            (tmp_path / f"{number}-{seed}").write_bytes(damaged(data, seed) if seed else data)
    code = (
        "import pathlib, sys\n"
        "from serving.runtime.errors import ImageError\n"
        "from serving.runtime.image.decode import decode\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: decode(path.read_bytes())\n"
        "    except ImageError: pass\n"
    )
    result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
