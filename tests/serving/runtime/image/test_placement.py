"""Where faces lie in a model's input, for every crop rule."""

import math
from typing import Any

import numpy as np
import pytest
from encoded_pictures import card, difference, encode, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from serving.runtime.card import ClassificationCard, CropRule, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import crop_rect, place
from serving.runtime.image.preprocess import cut_placed, cut_resize, decode_crop_resize

EYES = ((0.3, 0.35), (0.7, 0.35))
RULES: dict[str, dict[str, Any]] = {
    "default": {},
    "4:3": {"aspect": 4 / 3, "scale": 1.2},
    "rectangle": {"mode": "rectangle"},
    "square": {"mode": "square", "background": 114},
    "fit_inside": {"mode": "fit_inside"},
    "framed square": {"mode": "square", "background": 114, "padding_scale": 0.8},
    "short_side": {"mode": "short_side", "padding_scale": 0.7},
    "eyes": {"eyes": EYES},
}
SIZES = st.tuples(st.integers(8, 150), st.integers(8, 150))
BOXES = st.tuples(
    st.floats(-80, 320), st.floats(-80, 260), st.floats(1, 400) | st.just(5.0), st.floats(1, 400) | st.just(5.0)
)


def rule(name: str, **changes: Any) -> CropRule:
    return CropRule.model_validate(RULES[name] | changes)


def canvas(height: int, width: int) -> InputSize:
    return InputSize(height=height, width=width)


def ramps(height: int, width: int) -> np.ndarray:
    """Red is the column and green the row, in levels that change by the pixel; blue tells the picture."""
    y, x = np.mgrid[:height, :width]
    return (
        np.stack([x * 255 / (width - 1), y * 255 / (height - 1), np.full_like(x, 255)], axis=2).round().astype(np.uint8)
    )


def eyes_in(box: Any, angle: float) -> dict[str, tuple[float, float]]:
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    across, down = math.cos(angle) * box[2] / 4, math.sin(angle) * box[2] / 4
    return {"left_eye": (x - across, y - down), "right_eye": (x + across, y + down)}


def cut(pixels: np.ndarray, box: Any, crop: CropRule, size: InputSize, keypoints: Any = None) -> np.ndarray:
    placement = place(pixels.shape[:2], box, crop, size, keypoints)
    return cut_placed(Photo.of_pixels(pixels), placement, size, crop.min_decode)


# --- every rule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=120, deadline=None)
@given(box=BOXES | st.none(), size=SIZES, angle=st.floats(-3, 3), scale=st.floats(0.5, 4))
def test_every_pixel_shows_the_point_of_the_picture_that_the_placement_says(
    name: str, box: Any, size: tuple[int, int], angle: float, scale: float
) -> None:
    """The picture's ramps read as coordinates; around it is the background, whose blue is another."""
    pixels, crop, input_size = ramps(200, 256), rule(name, scale=scale), canvas(*size)
    keypoints = eyes_in(box, angle) if box is not None else None
    try:
        placement = place((200, 256), box, crop, input_size, keypoints)
    except InputError as error:
        assert "box" in str(error)
        return
    shown = cut_placed(Photo.of_pixels(pixels), placement, input_size, 1.0).astype(float)
    assert shown.shape == (*size, 3)
    step = [(placement.rect[2 + axis] - placement.rect[axis]) / size[1 - axis] for axis in (0, 1)]
    # At the picture's border the filter has pixels on one side only.
    rim = 1 + 1.5 * max(*step, 1)
    for row in range(0, size[0], max(1, size[0] // 7)):
        for column in range(0, size[1], max(1, size[1] // 7)):
            x, y = placement.to_picture((column + 0.5, row + 0.5), input_size)
            left, top, right, bottom = placement.window
            if left + rim < x < right - rim and top + rim < y < bottom - rim:
                assert abs(shown[row, column, 0] * 255 / 255 - (x - 0.5)) <= 1.6, (row, column)
                assert abs(shown[row, column, 1] * 199 / 255 - (y - 0.5)) <= 1.6
                assert shown[row, column, 2] == 255
            elif not (left - rim < x < right + rim and top - rim < y < bottom + rim):
                assert tuple(shown[row, column]) == (placement.background,) * 3


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=60, deadline=None)
@given(box=BOXES, size=SIZES, angle=st.floats(-3, 3), point=st.tuples(st.floats(0, 256), st.floats(0, 200)))
def test_points_go_to_the_input_and_back(name: str, box: Any, size: Any, angle: float, point: Any) -> None:
    try:
        placement = place((200, 256), box, rule(name), canvas(*size), eyes_in(box, angle))
    except InputError:
        return
    back = placement.to_picture(placement.to_input(point, canvas(*size)), canvas(*size))
    assert back == pytest.approx(point, abs=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_nothing_around_what_is_shown_is_read(name: str) -> None:
    """Only the filter's radius, a few pixels here, reaches beyond it."""
    picture, box = smooth(300, 400), (150.0, 100.0, 60.0, 70.0)
    crop, size = rule(name), canvas(48, 40)
    keypoints = eyes_in(box, 0.3)
    placement = place((300, 400), box, crop, size, keypoints)
    left, top, right, bottom = placement.extent()
    x0, y0, x1, y1 = placement.window
    inside = np.zeros((300, 400), bool)
    margin = 5
    inside[
        int(max(top, y0)) - margin : int(min(bottom, y1)) + margin,
        int(max(left, x0)) - margin : int(min(right, x1)) + margin,
    ] = True
    other = np.where(inside[:, :, None], picture, 255 - picture)
    np.testing.assert_array_equal(cut(other, box, crop, size, keypoints), cut(picture, box, crop, size, keypoints))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_jpeg_shows_the_same(name: str, orientation: int) -> None:
    stored = smooth(600, 800)
    data = encode(stored, orientation=orientation)
    box = (200.0, 150.0, 260.0, 300.0)
    model = ClassificationCard.model_validate(card(32, 40).model_dump() | {"crop": rule(name)})
    fine = ClassificationCard.model_validate(card(32, 40).model_dump() | {"crop": rule(name, min_decode=8)})
    points = eyes_in(box, 0.2)
    reduced = decode_crop_resize(data, box, model, keypoints=points)
    assert difference(reduced, decode_crop_resize(data, box, fine, keypoints=points)) < 2.5


@pytest.mark.parametrize("name", ["square", "fit_inside", "short_side", "eyes"])
def test_a_cut_without_background_is_the_plain_one(name: str) -> None:
    """Where the input shows nothing but the picture, its pixels are those of a plain resize."""
    picture, size = smooth(300, 400), canvas(40, 40)
    crop = rule(name) if name != "short_side" else rule(name, padding_scale=1.0)
    box = (150.0, 100.0, 60.0, 60.0)
    keypoints = {"left_eye": (162.0, 121.0), "right_eye": (198.0, 121.0)}
    placement = place((300, 400), box, crop, size, keypoints)
    plain = cut_resize(Photo.of_pixels(picture), placement.rect, size, 1.0)
    np.testing.assert_array_equal(cut(picture, box, crop, size, keypoints), plain)


# --- each rule -----------------------------------------------------------------------------------------------------


@given(box=BOXES, scale=st.floats(1, 4))
def test_the_4_to_3_rule_contains_the_box_wherever_the_picture_allows(box: Any, scale: float) -> None:
    """Its center is kept, its aspect is 4:3 before the picture's border cuts it, whatever the input is."""
    x, y, width, height = box
    try:
        left, top, right, bottom = crop_rect((200, 256), box, rule("4:3", scale=scale), canvas(30, 90))
    except InputError:
        return
    assert left <= max(x, 0) + 1e-6 and right >= min(x + width, 256) - 1e-6
    assert top <= max(y, 0) + 1e-6 and bottom >= min(y + height, 200) - 1e-6
    side = scale * max(width, height * 3 / 4)
    expected = (x + (width - side) / 2, y + (height - side * 4 / 3) / 2)
    assert (left, top) == pytest.approx(tuple(max(value, 0) for value in expected), abs=1e-6)
    assert right == pytest.approx(min(expected[0] + side, 256), abs=1e-6)
    assert bottom == pytest.approx(min(expected[1] + side * 4 / 3, 200), abs=1e-6)


def test_the_4_to_3_rule_cuts_no_tall_face_and_knows_width_from_height() -> None:
    """Faces taller than 4:3 used to be cut, and both axes were clipped to the height of the photos."""
    size = (512, 384)
    assert crop_rect(size, (100, 100, 90, 200), rule("4:3"), canvas(384, 288)) == pytest.approx((55, 80, 235, 320))
    assert crop_rect(size, (300, 300, 80, 110), rule("4:3"), canvas(384, 288))[2] == 384


def _legacy_short_side(picture: np.ndarray, box: Any, height: int, width: int, scale: float) -> np.ndarray:
    """The rule in the words of those who wrote it: the crop against the canvas, pasted in the center of black."""
    x, y, w, h = box
    crop = Image.fromarray(picture[y : y + h, x : x + w])
    if w / h > width / height:
        new_height = int(height * scale)
        new_width = int(new_height * w / h)
    else:
        new_width = int(width * scale)
        new_height = int(new_width * h / w)
    black = Image.new("RGB", (width, height))
    black.paste(
        crop.resize((new_width, new_height), Image.Resampling.BILINEAR),
        ((width - new_width) // 2, (height - new_height) // 2),
    )
    return np.asarray(black)


@pytest.mark.parametrize(
    "box", [(50, 40, 100, 130), (50, 40, 130, 100), (50, 40, 90, 90), (20, 20, 40, 140), (20, 20, 200, 30)]
)
@pytest.mark.parametrize("size", [(224, 224), (96, 128), (120, 64)])
@pytest.mark.parametrize("scale", [0.8, 0.7, 1.0])
def test_short_side_is_the_rule_that_it_comes_from(box: Any, size: tuple[int, int], scale: float) -> None:
    picture = np.maximum(smooth(200, 260), 20)
    ours = cut(picture, box, rule("short_side", scale=1, padding_scale=scale), canvas(*size))
    theirs = _legacy_short_side(picture, box, *size, scale)
    np.testing.assert_array_equal(ours.any(axis=2), theirs.any(axis=2))
    assert difference(ours, theirs) < 1


def test_an_upright_face_of_224_has_the_margins_of_the_rule() -> None:
    """Content 179 wide: 22 pixels black at the left, 23 at the right, none above and below."""
    white = np.full((300, 300, 3), 255, np.uint8)
    seen = cut(white, (50, 50, 100, 130), rule("short_side", scale=1, padding_scale=None), canvas(224, 224)).any(axis=2)
    columns = np.flatnonzero(seen.any(axis=0))
    assert (columns[0], 223 - columns[-1]) == (22, 23) and seen.any(axis=1).all()


@pytest.mark.parametrize(
    ("box", "size", "face"),
    [
        ((60, 40, 50, 80), (100, 100), (10, 10, 80, 80)),  # the square is 80 pixels, x 45 to 125
        ((60, 40, 50, 80), (50, 100), (10, 0, 80, 50)),  # its middle: what is too long is cut at both ends
        ((-30, 40, 50, 80), (100, 100), (55, 10, 35, 80)),  # 45 pixels of the square lie left of the picture
    ],
)
def test_a_framed_square_takes_padding_scale_of_the_input(box: Any, size: tuple[int, int], face: Any) -> None:
    """A square around the box, as `square` cuts it, at 0.8 of the input's width: with a frame of background."""
    crop = CropRule(mode="square", scale=1.0, padding_scale=0.8, background=7)
    seen = cut(np.full((200, 300, 3), 255, np.uint8), box, crop, canvas(*size))
    x, y, width, height = face
    expected = np.full((*size, 3), 7, np.uint8)
    expected[y : y + height, x : x + width] = 255
    np.testing.assert_array_equal(seen, expected)
    alone = cut(ramps(200, 256), box, CropRule(mode="square", scale=1.0, background=7), canvas(80, 80))
    framed = cut(ramps(200, 256), box, crop, canvas(100, 100))[10:90, 10:90]
    np.testing.assert_array_equal(framed, alone)


@given(scales=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)).map(sorted), box=BOXES)
@settings(max_examples=50, deadline=None)
def test_a_lower_padding_scale_gives_more_black(scales: list[float], box: Any) -> None:
    white = np.full((200, 256, 3), 255, np.uint8)
    try:
        less, more = (
            cut(white, box, rule("short_side", padding_scale=scale), canvas(40, 40)).any(axis=2).sum()
            for scale in scales
        )
    except InputError:
        return
    assert less <= more


@given(box=BOXES, size=SIZES)
@settings(max_examples=50, deadline=None)
def test_fit_inside_cuts_nothing_and_fills_one_side(box: Any, size: tuple[int, int]) -> None:
    try:
        placement = place((200, 256), box, rule("fit_inside"), canvas(*size))
    except InputError:
        return
    left, top, right, bottom = placement.window
    (x0, y0), (x1, y1) = (placement.to_input(corner, canvas(*size)) for corner in ((left, top), (right, bottom)))
    assert min(x0, y0) >= -1e-6 and x1 <= size[1] + 1e-6 and y1 <= size[0] + 1e-6
    assert (x1 - x0, y1 - y0) >= (size[1] - 1e-6, 0) or y1 - y0 >= size[0] - 1e-6
    assert abs((x1 - x0) - (right - left) / (bottom - top) * (y1 - y0)) < 1 + (right - left) / (bottom - top)


def test_a_square_beyond_the_border_keeps_its_face_in_the_middle() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    seen = cut(white, (-10.0, 40.0, 20.0, 20.0), rule("square", scale=2), canvas(40, 40))
    assert (seen[:, :20] == 114).all() and (seen[:, 20:] == 255).all()


@pytest.mark.parametrize("box", [(0, 0, 1e308, 1e308), (-1e300, 50, 1e301, 10)])
def test_a_square_that_shows_nothing_is_refused(box: Any) -> None:
    with pytest.raises(InputError, match="so large that nothing of the image"):
        place((100, 200), box, rule("square"), canvas(32, 32))


@pytest.mark.parametrize("name", RULES)
def test_without_a_box_the_whole_image_is_shown(name: str) -> None:
    placement = place((100, 200), None, rule(name, scale=4), canvas(40, 40))
    left, top, right, bottom = placement.rect
    if name in ("square", "fit_inside"):
        assert placement.rect == pytest.approx((0, -50, 200, 150))
    elif name == "framed square":
        assert placement.rect == pytest.approx((-25, -75, 225, 175))
    elif name == "short_side":
        assert (right - left) < 200 and top < 0 and bottom > 100
    else:
        assert placement.rect == (0, 0, 200, 100)


# --- eyes ----------------------------------------------------------------------------------------------------------


@given(
    left=st.tuples(st.floats(60, 120), st.floats(60, 120)),
    right=st.tuples(st.floats(130, 190), st.floats(60, 120)),
    size=SIZES,
)
def test_eyes_come_where_the_card_says(left: Any, right: Any, size: tuple[int, int]) -> None:
    placement = place((200, 256), None, rule("eyes"), canvas(*size), {"left_eye": left, "right_eye": right})
    assert placement.aligned
    for point, share in zip((left, right), EYES, strict=True):
        expected = (share[0] * size[1], share[1] * size[0])
        assert placement.to_input(point, canvas(*size)) == pytest.approx(expected, abs=1e-6)
    # A similarity: lengths in both directions grow alike.
    across = math.dist(placement.to_picture((0, 0), canvas(*size)), placement.to_picture((size[1], 0), canvas(*size)))
    down = math.dist(placement.to_picture((0, 0), canvas(*size)), placement.to_picture((0, size[0]), canvas(*size)))
    assert across / size[1] == pytest.approx(down / size[0])


def test_names_from_the_persons_side_turn_nobody_upside_down() -> None:
    points = {"left_eye": (80.0, 90.0), "right_eye": (120.0, 95.0)}
    swapped = {"left_eye": points["right_eye"], "right_eye": points["left_eye"]}
    assert place((200, 256), None, rule("eyes"), canvas(40, 40), points) == place(
        (200, 256), None, rule("eyes"), canvas(40, 40), swapped
    )


@pytest.mark.parametrize(
    "points",
    [
        {},
        None,
        {"left_eye": (80.0, 90.0)},
        {"left_eye": (80.0, 90.0), "right_eye": (80.2, 90.0)},
        {"left_eye": (80.0, math.nan), "right_eye": (120.0, 90.0)},
        {"left_eye": (9000.0, 9000.0), "right_eye": (9040.0, 9000.0)},
        {"nose": (80.0, 90.0), "right_eye": (120.0, 90.0)},
    ],
)
def test_a_face_without_usable_eyes_is_cut_by_its_box_and_says_so(points: Any) -> None:
    box, size = (80.0, 80.0, 40.0, 40.0), canvas(40, 40)
    placement = place((200, 256), box, rule("eyes", mode="square"), size, points)
    assert not placement.aligned
    assert placement == place((200, 256), box, rule("square", background=None), size)


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_turned_face_is_as_sharp_as_an_upright_one_and_has_no_aliasing(angle: float) -> None:
    """Stripes finer than a pixel of the input become gray, and those of 6 pixels keep their contrast."""
    y, x = np.mgrid[:600, :600].astype(float)
    along = math.cos(angle) * (x - 300) + math.sin(angle) * (y - 300)
    points = {
        "left_eye": (300 - 80 * math.cos(angle), 300 - 80 * math.sin(angle)),
        "right_eye": (300 + 80 * math.cos(angle), 300 + 80 * math.sin(angle)),
    }
    contrast = {}
    for period in (5.5, 24):  # in pixels of the photo, of which the input has one in four
        stripes = np.repeat((127.5 + 127 * np.sin(2 * np.pi * along / period))[:, :, None], 3, axis=2).astype(np.uint8)
        contrast[period] = cut(stripes, None, rule("eyes"), canvas(100, 100), points)[30:70, 30:70].std()
    assert contrast[5.5] < 12 and contrast[24] > 60, contrast


# --- what a card may say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "square", "frame": (0, 0, 1, 1)}, "frame .* cannot have mode"),
        ({"eyes": EYES, "frame": (0, 0, 1, 1)}, "frame .* cannot have eyes"),
        ({"mode": "square", "aspect": 1.5}, "aspect belongs to the rule without a mode"),
        ({"mode": "fit_inside", "padding_scale": 0.5}, "padding_scale belongs to mode short_side or square"),
        ({"background": 3}, "background belongs to"),
        ({"eyes": ((0.5, 0.3), (0.5, 0.3))}, "apart"),
        ({"eyes": ((0.7, 0.3), (0.3, 0.3))}, "apart"),
        ({"mode": "round"}, "mode"),
    ],
)
def test_rules_that_make_no_sense_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CropRule.model_validate(values)


def test_a_card_holds_of_a_rule_what_is_set() -> None:
    assert set(CropRule().model_dump()) == {"scale", "min_decode", "frame"}, "what earlier versions read"
    assert set(rule("short_side").model_dump()) == {"mode", "padding_scale", "scale", "min_decode", "frame"}
