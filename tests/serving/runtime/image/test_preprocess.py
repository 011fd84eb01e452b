"""What is cut out of an image: reduced decodes, rectangles and boxes."""

from typing import Any

import numpy as np
import pytest
from encoded_pictures import card, difference, encode, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.runtime.card import CropRule, InputSize
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.decode import decode
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, read_header
from serving.runtime.image.placement import crop_rect
from serving.runtime.image.preprocess import decode_crop_resize, decode_rect_resize

# --- DCT scales ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minimum", "expected"),
    [
        ((0, 0), (480, 640)),
        ((480, 0), (480, 640)),
        ((241, 0), (480, 640)),
        ((240, 0), (240, 320)),
        ((240, 320), (240, 320)),
        ((240, 321), (480, 640)),
        ((61, 81), (120, 160)),
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
    upright = read_header(data, DEFAULT_MAX_PIXELS).upright
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
        ((80, 40, 20, 20), 0.5, (85, 45, 95, 55)),
        ((-18, 40, 20, 20), 0.5, (0, 45, 2, 55)),
        ((80, -15, 20, 20), 0.5, (85, 0, 95, 5)),
        ((198, 40, 20, 20), 0.8, (198, 42, 200, 58)),
        ((80, 98, 20, 20), 0.9, (81, 98, 99, 100)),
    ],
)
def test_crop_rect(box: Any, scale: float, expected: tuple[float, ...]) -> None:
    rule = CropRule(scale=scale)
    assert crop_rect((100, 200), box, rule, InputSize(height=64, width=64)) == pytest.approx(expected)


@given(
    box=st.tuples(st.floats(-99, 199), st.floats(-99, 99), st.floats(1, 300), st.floats(1, 300)).filter(
        lambda box: box[0] + box[2] > 0.1 and box[1] + box[3] > 0.1
    ),
    scale=st.floats(0.5, 4),
)
def test_the_crop_rule_is_the_same_for_every_scale(box: tuple[float, ...], scale: float) -> None:
    """Centered on the box, and moved only where it would cover less of the box's visible part than it can."""
    x, y, width, height = box
    low, high = np.array([max(x, 0), max(y, 0)]), np.array([min(x + width, 200), min(y + height, 100)])
    cut = crop_rect((100, 200), box, CropRule(scale=scale), InputSize(height=64, width=64))
    start, end = np.maximum(cut[:2], low), np.minimum(cut[2:], high)
    side = max(width, height) * scale
    assert (end - start) == pytest.approx(np.minimum(high - low, side), abs=1e-6), "as much of the box as it can"
    if scale >= 1:
        centered = np.array([x + (width - side) / 2, y + (height - side) / 2])
        assert cut[:2] == pytest.approx(np.maximum(centered, 0), abs=1e-6)
        assert cut[2:] == pytest.approx(np.minimum(centered + side, (200, 100)), abs=1e-6)


@pytest.mark.parametrize("box", [None, (80, 40, 20, 20), (500, 500, 1, 1)])
def test_a_frame_is_cut_wherever_the_face_is(box: Any) -> None:
    rule = CropRule(scale=2.0, frame=(0.25, 0.1, 0.75, 0.6))
    assert crop_rect((100, 200), box, rule, InputSize(height=64, width=64)) == pytest.approx((50, 10, 150, 60))


@pytest.mark.parametrize("frame", [(0.5, 0, 0.5, 1), (0, 0.6, 1, 0.4), (-0.1, 0, 1, 1), (0, 0, 1, 1.1), (0, 0, 1)])
def test_a_frame_is_a_part_of_the_picture(frame: Any) -> None:
    with pytest.raises(ValueError, match="frame"):
        CropRule(frame=frame)


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
def test_a_box_outside_the_image_is_refused(box: Any) -> None:
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
            pixels = decode_rect_resize(data, box, read_header(data, DEFAULT_MAX_PIXELS).upright, size, min_decode)
        else:
            pixels = decode_crop_resize(data, box, card(*input_size, min_decode=min_decode))
    except InputError as error:
        assert not isinstance(error, ImageError)
        return
    assert pixels.shape == (*input_size, 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
