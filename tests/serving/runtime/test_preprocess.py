import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.runtime.card import CropRule, InputSize, ModelCard
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image_file import read_header
from serving.runtime.preprocess import crop_rect, decode, decode_crop_resize, decode_rect_resize, read_size

ORIENTATION = 274
# How a viewer shows stored pixels, written out a second time with other numpy calls than the code under test.
SHOWN = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.transpose(a, (1, 0, 2)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2),
    8: np.rot90,
}


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without symmetry whose detail is coarse, as photos mostly are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(
    picture: np.ndarray | Image.Image, kind: str = "JPEG", orientation: int | None = None, **options: Any
) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).mean())


def card(height: int = 32, width: int = 24, **crop: float) -> ModelCard:
    return ModelCard.model_validate(
        {
            "name": "tiny",
            "label_space": "mask",
            "heads": [{"name": "mask", "labels": ["worn", "incorrect", "absent"]}],
            "input": {"height": height, "width": width},
            "crop": crop,
            "normalization": {"mean": [0, 0, 0], "std": [1, 1, 1]},
            "leaks": False,
            "versions": {},
            "dataset_digest": "",
            "training_digest": "",
        }
    )


# --- formats and modes ---------------------------------------------------------------------------------------------

RAMP = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))
COLOUR = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


def half_transparent(mode: str) -> Image.Image:
    image = Image.fromarray(COLOUR).convert("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray(np.repeat(np.uint8([[0], [255]]), 16, axis=0).repeat(48, axis=1)))
    return image


def laid_on_white(opaque: np.ndarray) -> np.ndarray:
    shown = opaque.copy()
    shown[:16] = 255
    return shown


GRAY = np.stack([RAMP] * 3, axis=2)
PALETTE = Image.fromarray(COLOUR).quantize(16, dither=Image.Dither.NONE)
TABLE = {
    "jpeg": (encode(COLOUR), COLOUR, 3),
    "jpeg 4:2:0": (encode(COLOUR, subsampling=2), COLOUR, 6),
    "jpeg progressive": (encode(COLOUR, progressive=True), COLOUR, 3),
    "jpeg gray": (encode(RAMP), GRAY, 1),
    "jpeg cmyk": (encode(Image.fromarray(COLOUR).convert("CMYK")), COLOUR, 4),
    "jpeg rgb": (encode(COLOUR, keep_rgb=True), COLOUR, 2),
    "png rgb": (encode(COLOUR, "PNG"), COLOUR, 0),
    "png gray": (encode(RAMP, "PNG"), GRAY, 0),
    "png 1 bit": (encode(Image.fromarray(RAMP > 127), "PNG"), np.where(GRAY > 127, 255, 0), 0),
    "png 16 bit gray": (encode(RAMP.astype(np.uint16) * 256 + 77, "PNG"), GRAY, 0),
    "png palette": (encode(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "png rgba": (encode(half_transparent("RGBA"), "PNG"), laid_on_white(COLOUR), 0),
    "png la": (
        encode(half_transparent("LA"), "PNG"),
        laid_on_white(np.stack([np.asarray(Image.fromarray(COLOUR).convert("L"))] * 3, axis=2)),
        0,
    ),
    "png colour key": (
        encode(np.zeros((4, 4, 3), np.uint8), "PNG", transparency=(0, 0, 0)),
        np.full((4, 4, 3), 255, np.uint8),
        0,
    ),
    "bmp": (encode(COLOUR, "BMP"), COLOUR, 0),
    "bmp gray": (encode(RAMP, "BMP"), GRAY, 0),
    "webp lossless": (encode(COLOUR, "WEBP", lossless=True), COLOUR, 0),
    "webp": (encode(COLOUR, "WEBP", quality=95), COLOUR, 6),
    "webp rgba": (encode(half_transparent("RGBA"), "WEBP", lossless=True), laid_on_white(COLOUR), 0),
    "gif": (encode(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "gif, first frame": (
        encode(PALETTE, "GIF", save_all=True, append_images=[Image.new("RGB", PALETTE.size, "red")]),
        np.asarray(PALETTE.convert("RGB")),
        0,
    ),
    "ppm": (encode(COLOUR, "PPM"), COLOUR, 0),
    "pgm": (encode(RAMP, "PPM"), GRAY, 0),
    "pgm 16 bit": (encode(RAMP.astype(np.uint16) * 256 + 77, "PPM"), GRAY, 0),
    "tiff": (encode(COLOUR, "TIFF"), COLOUR, 0),
    "tiff lzw": (encode(COLOUR, "TIFF", compression="tiff_lzw"), COLOUR, 0),
    "tiff 16 bit gray": (encode(RAMP.astype(np.uint16) * 256 + 77, "TIFF"), GRAY, 0),
    "tiff cmyk": (encode(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"), COLOUR, 1),
}


@pytest.mark.parametrize("name", TABLE)
def test_every_format_and_mode_becomes_rgb(name: str) -> None:
    data, expected, tolerance = TABLE[name]
    pixels = decode(data)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert pixels.shape == (*read_size(data), 3)
    assert difference(pixels, expected) <= tolerance
    cut = decode_crop_resize(data, None, card())
    assert cut.shape == (32, 24, 3) and cut.dtype == np.uint8


def test_16_bit_rgb_keeps_the_high_byte() -> None:
    wide = (COLOUR.astype(np.uint16) * 256 + 77).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 48, 32, 16, 2, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    assert np.array_equal(decode(data), COLOUR)


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
    assert read_size(data) == upright.shape[:2]
    assert difference(decode(data), upright) <= (2 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", SHOWN)
def test_tagged_jpeg_equals_its_upright_twin(orientation: int) -> None:
    stored = smooth(480, 641)
    tagged = encode(stored, orientation=orientation)
    twin = encode(np.ascontiguousarray(SHOWN[orientation](stored)))
    height, width = read_size(twin)
    for box in (None, (30.5, 40.25, 100.0, 120.0), (width - 90.0, height - 70.0, 90.0, 70.0)):
        ours, theirs = decode_crop_resize(tagged, box, card()), decode_crop_resize(twin, box, card())
        assert difference(ours, theirs) < 1.0
        assert difference(ours, theirs[::-1]) > 5.0


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_ignored(orientation: int) -> None:
    assert read_size(encode(smooth(8, 16), orientation=orientation)) == (8, 16)


def test_broken_exif_is_ignored() -> None:
    data = encode(smooth(8, 16), exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense")
    assert decode(data).shape == (8, 16, 3)


def test_png_orientation_after_the_pixels_counts() -> None:
    data = encode(smooth(8, 16), "PNG")
    body = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", ORIENTATION, 3, 1, 6) + b"\0\0\0\0"
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    end = data.index(b"IEND") - 4
    assert read_size(data[:end] + chunk + data[end:]) == (16, 8)


# --- DCT scales ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minimum", "expected"),
    [
        ((0, 0), (480, 640)),
        ((480, 0), (480, 640)),
        ((421, 0), (480, 640)),
        ((420, 0), (420, 560)),
        ((240, 320), (240, 320)),
        ((240, 321), (300, 400)),
        ((1, 1), (60, 80)),
        ((9999, 9999), (480, 640)),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_decode_takes_the_smallest_scale(minimum: tuple[int, int], expected: tuple[int, int], orientation: int) -> None:
    data = encode(smooth(480, 640) if orientation == 1 else smooth(640, 480), orientation=orientation)
    assert decode(data, min_height=minimum[0], min_width=minimum[1]).shape == (*expected, 3)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7), (8, 1), (9, 17), (481, 639)])
def test_odd_sizes_decode(size: tuple[int, int]) -> None:
    data = encode(smooth(*size))
    assert decode(data).shape == (*size, 3)
    assert min(decode(data, min_height=1, min_width=1).shape) >= 1
    assert decode_crop_resize(data, None, card()).shape == (32, 24, 3)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(120, 700), st.integers(120, 700)),
    corner=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    extent=st.tuples(st.floats(0.2, 1.5), st.floats(0.2, 1.5)),
    orientation=st.integers(1, 8),
    subsampling=st.sampled_from([0, 2]),
)
def test_reduced_decode_stays_close_to_the_full_decode(
    size: tuple[int, int],
    corner: tuple[float, float],
    extent: tuple[float, float],
    orientation: int,
    subsampling: int,
) -> None:
    """The stated bound: unless detail is as fine as a pixel, the mean difference is below 2 of 255 levels."""
    data = encode(smooth(*size), orientation=orientation, subsampling=subsampling)
    upright = read_size(data)
    height, width = upright
    left, top = corner[0] * width, corner[1] * height
    rect = (left, top, left + extent[0] * width, top + extent[1] * height)
    reduced = decode_rect_resize(data, rect, upright, InputSize(height=24, width=16), 1.0)
    full = decode_rect_resize(data, rect, upright, InputSize(height=24, width=16), 1000.0)
    assert difference(reduced, full) < 2.0


def test_the_pixels_do_not_shift_at_any_scale() -> None:
    """A ramp over an odd width reads the same value in the same place at every DCT scale."""
    ramp = np.repeat(np.tile(np.linspace(0, 255, 1001).astype(np.uint8), (1001, 1))[:, :, None], 3, axis=2)
    size = InputSize(height=8, width=8)
    data = encode(ramp)
    exact = decode_rect_resize(data, (900, 0, 1001, 1001), (1001, 1001), size, 1000.0).astype(int)
    for min_decode in (1.0, 2.0, 3.0, 5.0, 7.0):
        reduced = decode_rect_resize(data, (900, 0, 1001, 1001), (1001, 1001), size, min_decode).astype(int)
        assert np.abs(reduced - exact).max() <= 1


def test_cut_equals_pillow_on_the_whole_image() -> None:
    """Handing Pillow only a part of the image changes nothing."""
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    rect = (13.25, 7.5, 101.75, 80.0)
    ours = decode_rect_resize(encode(picture, "PNG"), rect, (90, 120), InputSize(height=16, width=24), 1.0)
    whole = Image.fromarray(picture).resize((24, 16), Image.Resampling.BILINEAR, box=rect)
    assert np.array_equal(ours, np.asarray(whole))


# --- rectangles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        (None, 1.3, (0, 0, 200, 100)),
        ((80, 40, 20, 20), 1.0, (80, 40, 100, 60)),
        ((80, 40, 20, 20), 2.0, (70, 30, 110, 70)),
        ((80, 40, 20, 10), 1.0, (80, 35, 100, 55)),
        ((80, 40, 10, 20), 1.0, (75, 40, 95, 60)),
        ((-10, -10, 20, 20), 1.0, (0, 0, 10, 10)),
        ((190, 90, 40, 40), 1.0, (190, 90, 200, 100)),
        ((-1e6, -1e6, 2e6, 2e6), 1.0, (0, 0, 200, 100)),
    ],
)
def test_crop_rect(box: Any, scale: float, expected: tuple[float, ...]) -> None:
    rule = CropRule(scale=scale)
    assert crop_rect((100, 200), box, rule, InputSize(height=64, width=64)) == pytest.approx(expected)


def test_crop_rect_takes_the_aspect_of_the_input() -> None:
    left, top, right, bottom = crop_rect(
        (1000, 1000), (500, 500, 60, 60), CropRule(scale=1.5), InputSize(height=96, width=72)
    )
    assert (bottom - top) / (right - left) == pytest.approx(96 / 72)
    assert (left + right) / 2 == pytest.approx(530) and (top + bottom) / 2 == pytest.approx(530)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 10),
        (0, 0, 10, -1),
        (float("nan"), 0, 1, 1),
        (0, float("inf"), 1, 1),
        (200, 0, 10, 10),
        (0, 100, 10, 10),
        (-20, 0, 20, 10),
        (0, 0, 1e308, 1e308),
    ],
)
def test_a_box_that_cuts_nothing_is_refused(box: Any) -> None:
    data = encode(smooth(100, 200))
    if box == (0, 0, 1e308, 1e308):
        assert decode_crop_resize(data, box, card()).shape == (32, 24, 3)
        return
    with pytest.raises(InputError, match="box"):
        decode_crop_resize(data, box, card())


@pytest.mark.parametrize("rect", [(5, 5, 5, 9), (9, 5, 5, 9), (200, 0, 210, 9), (0, -9, 9, 0), (float("nan"), 0, 9, 9)])
def test_an_empty_rectangle_is_refused(rect: Any) -> None:
    with pytest.raises(InputError, match="rectangle"):
        decode_rect_resize(encode(smooth(100, 200)), rect, (100, 200), InputSize(height=8, width=8), 1.0)


def test_a_rectangle_for_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"200 x 100.*100 x 200"):
        decode_rect_resize(encode(smooth(100, 200)), (0, 0, 9, 9), (200, 100), InputSize(height=8, width=8), 1.0)


COORDINATE = st.one_of(st.floats(-300, 300), st.floats(allow_nan=True, allow_infinity=True), st.integers(-300, 300))
STRIPES = {
    (kind, orientation): encode(smooth(61, 103), kind, orientation)
    for kind in ("JPEG", "PNG")
    for orientation in range(1, 9)
}


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG"]),
    orientation=st.integers(1, 8),
    box=st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE),
    input_size=st.tuples(st.integers(8, 80), st.integers(8, 80)),
    min_decode=st.floats(1, 8),
    as_rect=st.booleans(),
)
def test_any_box_gives_the_models_input_or_an_input_error(
    kind: str, orientation: int, box: Any, input_size: tuple[int, int], min_decode: float, as_rect: bool
) -> None:
    data = STRIPES[kind, orientation]
    size = InputSize(height=input_size[0], width=input_size[1])
    try:
        if as_rect:
            pixels = decode_rect_resize(data, box, read_size(data), size, min_decode)
        else:
            pixels = decode_crop_resize(data, box, card(*input_size, min_decode=min_decode))
    except InputError as error:
        assert not isinstance(error, ImageError)
        return
    assert pixels.shape == (*input_size, 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous


# --- data that is not an image -------------------------------------------------------------------------------------


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
    assert reason(encode(COLOUR)[:-40]) == "truncated"
    assert reason(encode(COLOUR, "PNG")[:-40]) == "truncated"
    assert reason(encode(COLOUR), max_pixels=48 * 32 - 1) == "too_large"
    assert decode(encode(COLOUR), max_pixels=48 * 32).shape == (32, 48, 3)


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
def test_every_truncation_is_an_image_error(data: bytes) -> None:
    for length in range(len(data)):
        assert reason(data[:length]) in ("empty", "not_an_image", "truncated")


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
    assert pixels.ndim == 3 and pixels.shape[:2] == read_size(bytes(broken))


MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"P6 ", b"II*\0"]


@settings(max_examples=200, deadline=None)
@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=200))
def test_garbage_is_an_image_error(magic: bytes, rest: bytes) -> None:
    try:
        decode(magic + rest, max_pixels=1000)
    except ImageError:
        return
    assert magic == b"P6 ", "only the plainest format can be hit by chance"


def test_header_is_enough_for_the_size() -> None:
    data = encode(smooth(40, 30), orientation=8)
    assert read_size(data[: len(data) // 2]) == (30, 40)
    assert read_header(data, 10_000).turbo
