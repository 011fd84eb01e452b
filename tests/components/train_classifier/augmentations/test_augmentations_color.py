"""Color, noise, blur and erasing transforms against plain formulas and other libraries."""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from augmentation_pictures import NORMALIZATION, apply, noise, smooth
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional

from components.train_classifier.augmentations.auto_augment import auto_augment, imagenet_policy, operate
from components.train_classifier.augmentations.color import shift_hsv
from components.train_classifier.augmentations.filters import normalized_noise

GRAY = np.full((60, 50, 3), 100, np.uint8)


def test_brightness_and_contrast() -> None:
    brighter = apply("RandomBrightnessContrast", 0, GRAY, brightness=[0.1, 0.1], contrast=0)
    assert (brighter == 126).all(), "100 + 25.5, rounded to even"
    sharper = apply("RandomBrightnessContrast", 0, GRAY, brightness=0, contrast=[0.2, 0.2])
    assert (sharper == 120).all()
    pixels = noise()
    expected = np.clip(np.rint(1.3 * pixels.astype(float) - 51), 0, 255)
    np.testing.assert_array_equal(
        apply("RandomBrightnessContrast", 0, pixels, brightness=[-0.2, -0.2], contrast=[0.3, 0.3]), expected
    )
    means = [apply("RandomBrightnessContrast", seed, GRAY).mean() for seed in range(300)]
    assert np.mean(means) == pytest.approx(100, abs=3) and min(means) < 60 and max(means) > 140


def test_gamma_and_shift() -> None:
    assert (apply("RandomGamma", 0, GRAY, gamma=50) == round(255 * (100 / 255) ** 0.5)).all()
    shifted = apply("RGBShift", 0, GRAY, red=[7, 7], green=[-9, -9], blue=[200, 200])
    assert (shifted == (107, 91, 255)).all()
    drawn = np.array([apply("RGBShift", seed, GRAY)[0, 0].astype(int) - 100 for seed in range(200)])
    assert abs(drawn).max() <= 20 and (drawn.min(axis=0) < -17).all() and (drawn.max(axis=0) > 17).all()
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.25


@pytest.mark.parametrize("shift", [(0, 0, 0), (20, 0, 0), (-13, 25, -20), (90, -30, 15), (-180, 100, 0)])
def test_hsv_agrees_with_the_standard_library(shift: tuple[float, float, float]) -> None:
    pixels = np.concatenate(
        [noise(12, 12), np.repeat(noise(12, 4)[..., :1], 3, axis=2), noise(12, 2) // 255 * 255], axis=1
    )
    changed = shift_hsv(pixels, *shift)
    for at in np.ndindex(pixels.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[at] / 255))
        expected = colorsys.hsv_to_rgb(
            (hue + shift[0] / 180) % 1,
            min(max(saturation + shift[1] / 255, 0), 1),
            min(max(value + shift[2] / 255, 0), 1),
        )
        assert np.abs(changed[at] - 255 * np.array(expected)).max() <= 0.51


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_jitter_agrees_with_torchvision(name: str) -> None:
    pixels = smooth(64, 48)
    strengths = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, name: 0.3}
    factors = []
    for seed in range(8):
        changed = apply("ColorJitter", seed, pixels, **strengths)
        rng = np.random.default_rng(seed)
        rng.random()  # whether the step is applied
        draws = [
            rng.uniform(1 - strengths[key], 1 + strengths[key]) for key in ("brightness", "contrast", "saturation")
        ]
        turn = rng.uniform(-strengths["hue"], strengths["hue"])
        factor = {"brightness": draws[0], "contrast": draws[1], "saturation": draws[2], "hue": turn}[name]
        picture = torch.from_numpy(pixels).permute(2, 0, 1)
        expected = getattr(functional, f"adjust_{name}")(picture, factor).permute(1, 2, 0).numpy()
        assert np.abs(changed.astype(int) - expected).max() <= 2
        factors.append(factor)
    assert len(set(factors)) == 8


def test_noise_has_the_stated_spread() -> None:
    middle = np.full((300, 300, 3), 128, np.uint8)
    added = apply("GaussNoise", 0, middle, variance=30).astype(float) - 128
    assert added.mean() == pytest.approx(0, abs=0.05) and added.var() == pytest.approx(30 + 1 / 12, rel=0.02)
    channels = added.reshape(-1, 3)
    assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.02, "every channel has its own"
    assert np.corrcoef(added[:, :-1].ravel(), added[:, 1:].ravel())[0, 1] == pytest.approx(0, abs=0.01)
    spreads = [(apply("GaussNoise", seed, middle[:60, :60]).astype(float)).var() for seed in range(100)]
    assert 8 < min(spreads) < 14 and 45 < max(spreads) < 54


def test_normalized_noise_has_its_deviation_after_normalization() -> None:
    middle = np.full((300, 300, 3), 128, np.uint8)
    added = normalized_noise(middle, np.random.default_rng(0), normalization=NORMALIZATION, deviation=0.5) / 255.0
    normal = (added - 128 / 255) / np.array(NORMALIZATION.std)
    assert normal.reshape(-1, 3).std(axis=0) == pytest.approx([0.5] * 3, rel=0.02)
    assert normal.mean() == pytest.approx(0, abs=0.01)


def test_blur_is_the_mean_of_a_square() -> None:
    pixels = noise(20, 25)
    wide = np.pad(pixels.astype(int), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    mean = sum(wide[row : row + 20, column : column + 25] for row in range(3) for column in range(3)) / 9
    np.testing.assert_array_equal(apply("Blur", 0, pixels, kernel=3), np.floor(mean + 0.5))
    assert apply("Blur", 0, np.full((40, 40, 3), 255, np.uint8), kernel=31).min() == 255
    variances = {round(float(apply("Blur", seed, noise(64, 64), kernel=7).var()), 3) for seed in range(30)}
    assert len(variances) == 3, "sides 3, 5 and 7"


def test_motion_blur_is_the_mean_along_a_line() -> None:
    dot = np.zeros((11, 11, 3), np.uint8)
    dot[5, 5] = 240
    for seed in range(40):
        spread = apply("MotionBlur", seed, dot, kernel=3)
        rows, columns = np.nonzero(spread[..., 0])
        assert len(rows) in (2, 3) and (spread[rows, columns] == 240 // len(rows)).all()
        assert abs(rows - 5).max() <= 1 and abs(columns - 5).max() <= 1


def test_dropout_paints_its_holes() -> None:
    white = np.full((100, 120, 3), 255, np.uint8)
    for seed in range(20):
        one = apply("CoarseDropout", seed, white, holes=1, height=20, width=40)
        rows, columns = np.nonzero((one == 0).all(axis=2))
        assert len(rows) == 800 and np.ptp(rows) == 19 and np.ptp(columns) == 39
    default = [int((apply("CoarseDropout", seed, white) == 0).all(axis=2).sum()) for seed in range(50)]
    assert max(default) == 8 * 64 and min(default) > 4 * 64, "eight holes, which may overlap"


def test_erasing_paints_the_stated_area_in_the_mean_color() -> None:
    white = np.full((112, 112, 3), 255, np.uint8)
    mean = [round(255 * value) for value in NORMALIZATION.mean]
    for area, low, high in (((0.05, 0.05), 0.047, 0.053), ((0.02, 0.1), 0.018, 0.102)):
        shares, shapes = [], []
        for seed in range(50):
            erased = apply("RandomErasing", seed, white, area=area)
            rows, columns = np.nonzero((erased == mean).all(axis=2))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert height * width == len(rows) == (erased != 255).all(axis=2).sum()
            shares.append(len(rows) / 112**2)
            shapes.append(height / width)
        assert low <= min(shares) and max(shares) <= high
        assert 0.28 < min(shapes) < 0.5 and 2 < max(shapes) < 3.5


FILL = (124, 116, 104)
FACTOR = 0.1 + 1.8 * 0.7
PILLOW: dict[str, Callable[[Image.Image], Image.Image]] = {
    "Posterize": lambda picture: ImageOps.posterize(picture, 4 + int(4 * 0.7)),
    "Solarize": lambda picture: ImageOps.solarize(picture, int(256 * 0.7)),
    "Invert": ImageOps.invert,
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Color": lambda picture: ImageEnhance.Color(picture).enhance(FACTOR),
    "Contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(FACTOR),
    "Sharpness": lambda picture: ImageEnhance.Sharpness(picture).enhance(FACTOR),
    "Rotate": lambda picture: picture.rotate(21, Image.Resampling.BILINEAR, fillcolor=FILL),
    "ShearX": lambda picture: picture.transform(
        picture.size, Image.Transform.AFFINE, (1, 0.21, 0, 0, 1, 0), Image.Resampling.BILINEAR, fillcolor=FILL
    ),
}


@pytest.mark.parametrize("name", PILLOW)
def test_operations_of_auto_augment_agree_with_pillow(name: str) -> None:
    pixels = smooth(480, 360) // 2 + 60 + noise(480, 360) // 16
    seed = next(seed for seed in range(9) if np.random.default_rng(seed).random() < 0.5)  # a positive sign
    changed = operate(name, pixels, 0.7, np.random.default_rng(seed), FILL).astype(int)
    difference = np.abs(changed - np.asarray(PILLOW[name](Image.fromarray(pixels))))
    assert np.percentile(difference, 99) <= {"Equalize": 10, "Sharpness": 2}.get(name, 1)
    assert np.abs(changed - pixels).mean() > 0.5


def test_auto_augment_applies_pairs_of_its_operations_with_the_fill() -> None:
    assert {name for entry in imagenet_policy() for name, *_ in entry} == set(PILLOW)
    corners = [
        auto_augment(np.zeros((40, 40, 3), np.uint8), np.random.default_rng(s))[0, 0].tolist() for s in range(80)
    ]
    assert list(FILL) in corners


def test_clahe_raises_contrast_and_keeps_gray_gray() -> None:
    flat = np.repeat((smooth(96, 72)[..., :1].astype(int) // 8 + 110).astype(np.uint8), 3, axis=2)
    changed = apply("CLAHE", 0, flat, clip=4)
    assert changed.std() > 1.5 * flat.std()
    assert np.ptp(changed.astype(int), axis=2).max() <= 1


def test_clahe_equalizes_each_tile_of_a_grid_given_as_down_and_across() -> None:
    bands = np.repeat(np.repeat(np.arange(0, 256, 64), 24)[:, None, None], 72, axis=1).repeat(3, axis=2)
    textured = (bands // 2 + noise(96, 72) // 16).astype(np.uint8)
    wide, tall = (apply("CLAHE", 0, textured, clip=100, tiles=tiles).mean(axis=(1, 2)) for tiles in ((4, 1), (1, 4)))
    assert np.ptp(wide[[12, 36, 60, 84]]) < 25, "bands that have tiles of their own become alike"
    assert np.ptp(tall[[12, 36, 60, 84]]) > 100


def test_clahe_rounds_colors_by_little() -> None:
    pixels = smooth(120, 90)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    difference = np.abs(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(int) - pixels)
    assert difference.mean() < 1.5
