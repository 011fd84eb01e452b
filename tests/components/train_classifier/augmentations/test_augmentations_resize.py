"""The resize of training pictures against that of serving."""

import numpy as np
import pytest
from augmentation_pictures import noise, smooth
from PIL import Image

from components.train_classifier.augmentations.face_cut import resize_rect
from serving.runtime.card import InputSize


@pytest.mark.parametrize("size", [(224, 224), (64, 48), (300, 20), (8, 8)])
@pytest.mark.parametrize("rect", [(0, 0, 90, 120), (13, 7, 88, 101), (40, 50, 41, 51), (3, 0, 90, 9)])
def test_whole_rectangles_are_within_a_level_of_pillow(rect: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    for picture in (noise(120, 90), smooth(120, 90), smooth(120, 90)[::-1, ::-1]):
        resized = resize_rect(picture, rect, InputSize(height=size[0], width=size[1]))
        expected = Image.fromarray(picture).crop(rect).resize(size[::-1], Image.Resampling.BILINEAR)
        assert resized.shape == (*size, 3) and resized.dtype == np.uint8
        assert np.abs(resized.astype(int) - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("rect", "rounded"),
    [
        ((2.6, 3.4, 9.5, 11.5), (3, 3, 10, 12)),
        ((4.1, 5.2, 4.3, 5.4), (4, 5, 5, 6)),
        ((19.6, 29.7, 20.0, 30.0), (19, 29, 20, 30)),
    ],
)
def test_fractions_are_rounded_to_at_least_one_pixel(rect: tuple[float, ...], rounded: tuple[int, ...]) -> None:
    picture = noise(30, 20)
    size = InputSize(height=8, width=8)
    left, top, right, bottom = rounded
    expected = resize_rect(
        np.ascontiguousarray(picture[top:bottom, left:right]), (0, 0, right - left, bottom - top), size
    )
    np.testing.assert_array_equal(resize_rect(picture, rect, size), expected)  # type: ignore[arg-type]
