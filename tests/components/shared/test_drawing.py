"""Drawn points: where they lie, in which color, and heatmaps against the slow way."""

import math

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.shared.drawing import draw_circles, gaussian_sum, heatmap

SIDES = st.integers(1, 150)


def slow_sum(points, height, width, sigma):
    return np.array(
        [
            [
                sum(math.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points)
                for x in range(width)
            ]
            for y in range(height)
        ]
    )


@settings(deadline=None)
@given(height=SIDES, width=SIDES, data=st.data())
def test_the_maximum_of_a_heatmap_lies_on_the_landmark(height, width, data):
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    off_x, off_y = data.draw(st.floats(-0.4, 0.4)), data.draw(st.floats(-0.4, 0.4))
    values = gaussian_sum(np.array([[x + off_x, y + off_y]]), height, width)
    assert values.shape == (height, width)
    assert np.unravel_index(values.argmax(), values.shape) == (y, x)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40), sigma=st.floats(0.5, 9), data=st.data())
def test_the_sum_is_that_of_a_loop_over_pixels_and_points(height, width, sigma, data):
    coordinates = st.tuples(st.floats(-20, 60), st.floats(-20, 60))
    points = data.draw(st.lists(coordinates, min_size=1, max_size=6))
    values = gaussian_sum(np.array(points), height, width, sigma)
    np.testing.assert_allclose(values, slow_sum(points, height, width, sigma), rtol=1e-5, atol=1e-7)


def test_every_landmark_is_a_maximum_of_a_picture_that_is_not_square():
    points = np.array([[150, 30], [40, 80], [199, 0]], float)
    values = gaussian_sum(points, 100, 200)
    for x, y in points.astype(int).tolist():
        around = values[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4]
        assert values[y, x] == around.max() == pytest.approx(1, abs=1e-3)


def test_heatmaps_have_the_colors_of_matplotlib():
    points = np.array([[150, 30], [140, 33], [40, 80]], float)
    values = slow_sum(points, 100, 200, 5)
    scaled = (values - values.min()) / (values.max() - values.min())
    expected = matplotlib.colormaps["viridis"](scaled, bytes=True)[..., :3].astype(int)
    colors = heatmap(points, 100, 200)
    assert (colors.shape, colors.dtype) == ((100, 200, 3), np.uint8)
    assert np.abs(colors - expected).max() <= 4, "one step of the color map"
    assert colors[30, 150].tolist() != colors[99, 199].tolist() == [68, 1, 84]


def test_a_heatmap_without_a_landmark_in_sight_has_one_color():
    assert np.unique(heatmap(np.array([[1e6, 1e6]]), 7, 9).reshape(-1, 3), axis=0).tolist() == [[68, 1, 84]]


@pytest.mark.parametrize(("mode", "fill"), [("RGB", (0, 0, 255)), ("L", 255)])
def test_circles_of_radius_2_on_a_copy(mode, fill):
    picture = Image.new(mode, (40, 20), (9 if mode == "L" else (9, 9, 9)))
    drawn = np.asarray(draw_circles(picture, np.array([[10.4, 8.6], [0, 19]]), fill))
    painted = (drawn == fill).all(axis=-1) if mode == "RGB" else drawn == fill
    assert np.unique(np.asarray(picture)).tolist() == [9]
    ys, xs = np.nonzero(painted[:, 5:])
    assert (xs.min() + 5, xs.max() + 5, ys.min(), ys.max()) == (8, 12, 7, 11)
    assert painted[9, 10] and not painted[7, 8], "round"
    assert painted[19, 0], "a point at the border"
