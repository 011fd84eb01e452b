"""Where the geometric transforms move points, against independent formulas."""

import math

import numpy as np
import pytest
from augmentation_pictures import noise, smooth
from PIL import Image

from components.train_classifier.augmentations.geometry import (
    grid_distortion,
    optical_distortion,
    perspective,
    rotate,
    shift_scale_rotate,
    stretched_positions,
)

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


def test_perspective_agrees_with_pillow() -> None:
    pixels = smooth(96, 72)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scale = rng.uniform(0.05, 0.1)
        inwards = np.minimum(np.abs(rng.normal(0, scale, (4, 2))), 0.4)
        part = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        drawn = np.where(part == 0, inwards, 1 - inwards)
        rows = [
            row
            for (x, y), (u, v) in zip(part * (72, 96), drawn * (72, 96), strict=True)
            for row in ([x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y])
        ]
        coefficients = np.linalg.solve(np.array(rows), (drawn * (72, 96)).ravel())
        expected = Image.fromarray(pixels).transform(
            (72, 96), Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BILINEAR
        )
        changed = perspective(pixels, np.random.default_rng(seed))
        difference = np.abs(changed.astype(int) - np.asarray(expected))[2:-2, 2:-2]
        assert difference.max() <= 2
        assert np.abs(changed.astype(int) - pixels).mean() > 1
