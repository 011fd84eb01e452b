"""Where the geometric transforms move things, against formulas written another way."""

import math

import numpy as np
import pytest
from augmentation_pictures import noise, smooth
from PIL import Image

from components.train_classifier.augmentations.geometry import (
    grid_distortion,
    homography,
    optical_distortion,
    perspective,
    rotate,
    shift_scale_rotate,
    similarity,
    stretched_positions,
)
from components.train_classifier.augmentations.ranges import STRIP
from components.train_classifier.augmentations.sampling_grid import read_axes, read_grid, reflect

SIZE = (120, 90)


def marked(row: float, column: float) -> np.ndarray:
    """A soft white spot on black."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    spot = 255 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)
    return np.repeat(np.rint(spot).astype(np.uint8)[..., None], 3, axis=2)


def center_of(pixels: np.ndarray, near: tuple[float, float] | None = None) -> tuple[float, float]:
    """The spot's center; `near` leaves out what is mirrored elsewhere."""
    weights = pixels[..., 0].astype(float)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    if near is not None:
        weights[np.hypot(rows - near[0], columns - near[1]) > 11] = 0
        assert weights.sum() > 1000
    return float((rows * weights).sum() / weights.sum()), float((columns * weights).sum() / weights.sum())


def fixed(value: float) -> tuple[float, float]:
    return value, value


@pytest.mark.parametrize("angle", [-30, 0, 12, 90])
@pytest.mark.parametrize("scale", [-0.2, 0, 0.15])
@pytest.mark.parametrize("shift", [-0.1, 0.05])
def test_shift_scale_rotate_moves_a_point_where_the_formula_says(angle: float, scale: float, shift: float) -> None:
    row, column = 50.0, 52.0
    middle_row, middle_column = (SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2
    # Counterclockwise on the screen, where rows grow downwards.
    turn = complex(math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    place = complex(column - middle_column, -(row - middle_row)) * turn * (1 + scale)
    expected = (middle_row - place.imag + shift * SIZE[0], middle_column + place.real + shift * SIZE[1])
    changed = shift_scale_rotate(
        marked(row, column),
        np.random.default_rng(0),
        shift=fixed(shift),
        scale=fixed(scale),
        rotate=fixed(angle),
    )
    assert center_of(changed, near=expected) == pytest.approx(expected, abs=0.1)


def test_right_angles_and_whole_pixels_are_exact() -> None:
    square = noise(33, 33)
    rng = np.random.default_rng(0)
    quarter = shift_scale_rotate(square, rng, shift=(0, 0), scale=(0, 0), rotate=(90, 90))
    np.testing.assert_array_equal(quarter, np.rot90(square))
    np.testing.assert_array_equal(rotate(noise(20, 31), rng, rotate=(180, 180)), noise(20, 31)[::-1, ::-1])
    moved = shift_scale_rotate(noise(20, 20), rng, shift=(0.25, 0.25), scale=(0, 0), rotate=(0, 0))
    np.testing.assert_array_equal(moved[5:, 5:], noise(20, 20)[:-5, :-5])
    np.testing.assert_array_equal(moved[5:, :5], noise(20, 20)[:-5, 5:0:-1], "mirrored beyond the border")


def test_draws_cover_their_ranges() -> None:
    rows, columns = zip(
        *(
            center_of(
                shift_scale_rotate(
                    marked(60, 45), np.random.default_rng(s), shift=(-0.1, 0.1), scale=(0, 0), rotate=(0, 0)
                )
            )
            for s in range(150)
        ),
        strict=True,
    )
    for places, length, start in ((rows, SIZE[0], 60), (columns, SIZE[1], 45)):
        offsets = (np.array(places) - start) / length
        assert offsets.min() < -0.09 and offsets.max() > 0.09 and abs(offsets).max() < 0.105
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.3, "two draws"


@pytest.mark.parametrize("fill", [None, (10, 200, 30)])
def test_reading_agrees_with_plain_bilinear_arithmetic(fill: tuple[int, int, int] | None) -> None:
    pixels = noise(13, 11)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-9, 20, (30, 40)), rng.uniform(-9, 20, (30, 40))
    read = read_grid(pixels, x, y, fill)

    def at(row: int, column: int) -> np.ndarray:
        if fill is not None and not (0 <= row < 13 and 0 <= column < 11):
            return np.array(fill, float)
        bounced = [
            abs(row) if abs(row) <= 12 else 24 - abs(row),
            abs(column) if abs(column) <= 10 else 20 - abs(column),
        ]
        return pixels[bounced[0], bounced[1]].astype(float)

    for out in np.ndindex(30, 40):
        column, row = x[out], y[out]
        left, top = math.floor(column), math.floor(row)
        right_share, down_share = column - left, row - top
        value = (1 - down_share) * ((1 - right_share) * at(top, left) + right_share * at(top, left + 1))
        value += down_share * ((1 - right_share) * at(top + 1, left) + right_share * at(top + 1, left + 1))
        assert np.abs(read[out] - value).max() < 5, "1/128 pixel in both directions, at a step of up to 255"
    assert np.abs(read.astype(float).mean() - pixels.mean()) < (8 if fill is None else 60)


def test_reading_axes_is_reading_their_grid() -> None:
    pixels = noise(13, 11)
    x, y = np.linspace(-12, 25, 40), np.linspace(-3, 14, 30)
    np.testing.assert_array_equal(read_axes(pixels, x, y), read_grid(pixels, *np.meshgrid(x, y)))


def test_far_away_there_is_only_the_fill() -> None:
    x, y = np.meshgrid(np.linspace(-30, -20, 5), np.linspace(40, 60, 4))
    assert (read_grid(noise(13, 11), x, y, (1, 2, 3)) == (1, 2, 3)).all()


def test_strips_do_not_show() -> None:
    """A picture of several strips is the same as its rows one by one."""
    pixels = smooth(200, 150)
    assert pixels[..., 0].size > STRIP
    x, y = np.meshgrid(np.linspace(3.3, 120.2, 150), np.linspace(7.1, 190.4, 200))
    rows = [read_grid(pixels, x[row : row + 1], y[row : row + 1]) for row in range(200)]
    np.testing.assert_array_equal(read_grid(pixels, x, y), np.concatenate(rows))


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_reflect_bounces_without_repeating_the_border(length: int) -> None:
    bounced = list(range(length)) + list(range(length - 2, 0, -1)) or [0]
    positions = np.arange(-50, 50)
    assert reflect(positions, length).tolist() == [bounced[position % len(bounced)] for position in positions]


def test_grid_distortion_stretches_its_parts() -> None:
    positions = stretched_positions(100, np.array([1.2, 0.8, 1.0, 1.0, 1.0]))
    assert positions[[0, 10, 20, 30, 40, 99]] == pytest.approx([0, 12, 24, 32, 40, 99])
    column = int(np.argmin(abs(positions - 32)))
    # The content of 32 is now seen at 30.
    assert column == 30
    for seed in range(20):
        x = stretched_positions(90, 1 + np.random.default_rng(seed).uniform(-0.3, 0.3, 5))
        assert (np.diff(x) > 0).all() and x[0] == 0
        assert np.diff(x).min() >= 0.7 - 1e-9 and np.diff(x).max() <= 1.3 + 1e-9
    stripes = np.repeat((np.arange(90) % 18 < 9)[None, :, None] * np.full((90, 1, 3), 255, np.uint8), 1, axis=0)
    changed = grid_distortion(stripes.astype(np.uint8), np.random.default_rng(0))
    assert (changed == changed[:1]).all(), "columns stay straight"


def test_optical_distortion_pulls_toward_the_middle_with_positive_k() -> None:
    row, column = 20.0, 15.0
    changed = optical_distortion(marked(row, column), np.random.default_rng(0), limit=fixed(0.3), shift=fixed(0))
    found = center_of(changed)
    # Where the spot is seen now, the formula must point back to where it was.
    u, v = (found[1] - 44.5) / 90, (found[0] - 59.5) / 120
    bend = 1 + 0.3 * (u * u + v * v) + 0.3 * (u * u + v * v) ** 2
    assert (59.5 + v * bend * 120, 44.5 + u * bend * 90) == pytest.approx((row, column), abs=0.2)
    assert found[0] > row + 1 and found[1] > column + 1
    middle = optical_distortion(marked(59.5, 44.5), np.random.default_rng(0), limit=fixed(-0.3), shift=fixed(0))
    assert center_of(middle) == pytest.approx((59.5, 44.5), abs=0.05)


def test_homography_maps_its_points() -> None:
    corners = np.array([[0.0, 0], [10, 0], [10, 20], [0, 20]])
    images = np.array([[1.0, 2], [9, 1], [8, 18], [2, 19]])
    matrix = homography(corners, images)
    mapped = np.column_stack([corners, np.ones(4)]) @ matrix.T
    assert mapped[:, :2] / mapped[:, 2:] == pytest.approx(images)


def test_perspective_agrees_with_pillow() -> None:
    pixels = smooth(96, 72)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scale = rng.uniform(0.05, 0.1)
        inwards = np.minimum(np.abs(rng.normal(0, scale, (4, 2))), 0.4)
        part = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        drawn = np.where(part == 0, inwards, 1 - inwards)
        coefficients = homography(part * (72, 96), drawn * (72, 96)).ravel()[:8]
        expected = Image.fromarray(pixels).transform(
            (72, 96), Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BILINEAR
        )
        changed = perspective(pixels, np.random.default_rng(seed))
        difference = np.abs(changed.astype(int) - np.asarray(expected))[2:-2, 2:-2]
        assert difference.max() <= 2
        assert np.abs(changed.astype(int) - pixels).mean() > 1


def test_similarity_of_nothing_is_the_identity() -> None:
    assert similarity((7, 9), 0, 1, (0, 0)) == pytest.approx(np.array([[1, 0, 0], [0, 1, 0]]))
