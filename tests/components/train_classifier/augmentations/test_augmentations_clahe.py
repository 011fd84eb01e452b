"""CLAHE and the lightness it works on."""

import numpy as np
import pytest
from augmentation_pictures import made, noise, smooth

from components.train_classifier.augmentations.lightness import put_lightness, take_lightness
from components.train_classifier.augmentations.local_contrast import equalize
from components.train_classifier.augmentations.ranges import STRIP


def plain_clahe(plane: np.ndarray, clip: float, down: int, across: int) -> np.ndarray:
    """Pixel by pixel, as the definition reads."""
    height, width = plane.shape
    tile_height, tile_width = -(-height // down), -(-width // across)
    padded = np.pad(plane, ((0, tile_height * down - height), (0, tile_width * across - width)), mode="reflect")
    curves = {}
    for tile_row in range(down):
        for tile_column in range(across):
            counts = [0] * 256
            for row in range(tile_height):
                for column in range(tile_width):
                    counts[padded[tile_row * tile_height + row, tile_column * tile_width + column]] += 1
            area = tile_height * tile_width
            limit = max(1, int(clip * area / 256))
            excess = 0
            for level in range(256):
                if counts[level] > limit:
                    excess += counts[level] - limit
                    counts[level] = limit
            for level in range(256):
                counts[level] += excess // 256
            rest = excess % 256
            if rest:
                step = 256 // rest
                for number in range(rest):
                    counts[number * step] += 1
            assert sum(counts) == area
            total, curve = 0, []
            for count in counts:
                total += count
                curve.append(round(total * 255 / area))
            curves[tile_row, tile_column] = curve
    result = np.empty_like(plane)
    for row in range(height):
        for column in range(width):
            y, x = (row + 0.5) / tile_height - 0.5, (column + 0.5) / tile_width - 0.5
            above, left = int(np.floor(y)), int(np.floor(x))
            value = 0.0
            for tile_row, row_weight in ((above, 1 - (y - above)), (above + 1, y - above)):
                for tile_column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
                    nearest = min(max(tile_row, 0), down - 1), min(max(tile_column, 0), across - 1)
                    value += row_weight * column_weight * curves[nearest][plane[row, column]]
            result[row, column] = int(value + 0.5)
    return result


@pytest.mark.parametrize("clip", [1.0, 2.5, 4.0, 100.0])
@pytest.mark.parametrize(
    ("size", "tiles"), [((32, 40), (4, 5)), ((37, 29), (4, 3)), ((16, 24), (8, 8)), ((20, 20), (1, 1))]
)
def test_equalize_agrees_with_the_plain_algorithm(clip: float, size: tuple[int, int], tiles: tuple[int, int]) -> None:
    for plane in (smooth(*size)[..., 1] // 3 + 60, noise(*size)[..., 0]):
        expected = plain_clahe(plane, clip, *tiles)
        difference = np.abs(equalize(plane, clip, tiles).astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.05  # float32 against float64 at a half


def test_strips_of_a_large_plane_do_not_show() -> None:
    plane = smooth(130, 128)[..., 0]  # two strips
    assert plane.size > STRIP
    expected = plain_clahe(plane, 3.0, 8, 8)
    assert np.abs(equalize(plane, 3.0, (8, 8)).astype(int) - expected).max() <= 1


def test_lightness_of_known_colors() -> None:
    colors = np.array([[[0, 0, 0], [255, 255, 255], [119, 119, 119], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    lightness = take_lightness(colors).lightness[0] / 2.55
    assert lightness == pytest.approx([0, 100, 50.03, 53.24, 87.73, 32.30], abs=0.4)


def test_lightness_out_and_in_again() -> None:
    pixels = np.concatenate([noise(100, 100), smooth(100, 100)])
    lab = take_lightness(pixels)
    difference = np.abs(put_lightness(lab, lab.lightness).astype(int) - pixels)
    assert difference.mean() < 0.1 and np.percentile(difference, 99) <= 1 and difference.max() <= 3
    raised = np.minimum(lab.lightness.astype(int) + 20, 255).astype(np.uint8)
    again = take_lightness(put_lightness(lab, raised))
    inside = (lab.lightness > 40) & (lab.lightness < 200)
    gray = np.ptp(pixels.astype(int), axis=2) < 60  # strong colors leave sRGB when they get lighter
    assert np.abs(again.lightness.astype(int) - raised)[inside & gray].max() <= 2


def test_clahe_raises_contrast_and_keeps_gray_gray() -> None:
    flat = np.repeat((smooth(96, 72)[..., :1].astype(int) // 8 + 110).astype(np.uint8), 3, axis=2)
    changed = made("CLAHE", 0, flat, clip=4)
    assert changed.std() > 1.5 * flat.std()
    assert np.ptp(changed.astype(int), axis=2).max() <= 1
