import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train_classifier.augmentations.config import Augment
from components.train_classifier.augmentations.face import augment_pixels, erase, jitter_colors, random_rect

OFF = Augment(scale=(1, 1), aspect=(1, 1), flip=0, brightness=0, contrast=0, saturation=0, erasing=0)
FILL = (120, 110, 100)


def picture(seed: int = 0, height: int = 24, width: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0)).map(lambda pair: tuple(sorted(pair))),
    translate=st.floats(0, 0.9),
    left=st.floats(0, 50),
    top=st.floats(0, 50),
    width=st.floats(1, 50),
    height=st.floats(1, 50),
)
def test_rect_stays_in_the_image(
    seed: int, scale: tuple[float, float], translate: float, left: float, top: float, width: float, height: float
) -> None:
    augment = Augment(scale=scale, translate=translate)
    base = (left, top, left + width, top + height)
    drawn = random_rect(base, (100, 100), augment, np.random.default_rng(seed))
    assert drawn[0] >= 0 and drawn[1] >= 0 and drawn[2] <= 100 + 1e-9 and drawn[3] <= 100 + 1e-9
    area = (drawn[2] - drawn[0]) * (drawn[3] - drawn[1])
    assert 0 < area <= scale[1] * width * height * (1 + 1e-9)
    if scale[1] <= 0.6 and translate == 0:  # small enough that no aspect of the default range sticks out
        assert drawn[0] >= left - 1e-9 and drawn[1] >= top - 1e-9
        assert drawn[2] <= base[2] + 1e-9 and drawn[3] <= base[3] + 1e-9


def test_rects_cover_the_range_of_areas_and_places() -> None:
    rects = [
        random_rect((10, 10, 50, 50), (60, 60), Augment(scale=(0.25, 1.0)), np.random.default_rng(seed))
        for seed in range(300)
    ]
    areas = [(right - left) * (bottom - top) / 1600 for left, top, right, bottom in rects]
    assert min(areas) < 0.3 and max(areas) > 0.95
    assert min(rect[0] for rect in rects) < 11 and max(rect[2] for rect in rects) > 49


def test_everything_off_changes_nothing() -> None:
    pixels = picture()
    rng = np.random.default_rng(0)
    assert random_rect((3.0, 4.0, 13.0, 14.0), (24, 20), OFF, rng) == (3.0, 4.0, 13.0, 14.0)
    np.testing.assert_array_equal(augment_pixels(pixels, OFF, FILL, rng), pixels)


def test_flip_mirrors() -> None:
    pixels = picture()
    flipped = augment_pixels(pixels, OFF.model_copy(update={"flip": 1.0}), FILL, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, pixels[:, ::-1])


def test_colors_follow_the_definitions_step_by_step() -> None:
    augment = OFF.model_copy(update={"brightness": 0.3, "contrast": 0.4, "saturation": 0.5})
    luma = np.array([0.299, 0.587, 0.114])
    for seed in range(5):
        pixels = picture(seed)
        rng = np.random.default_rng(seed)
        brightness, contrast, saturation = (rng.uniform(1 - s, 1 + s) for s in (0.3, 0.4, 0.5))
        values = pixels.astype(np.float64) * brightness
        mean = (values @ luma).mean()
        values = mean + contrast * (values - mean)
        gray = (values @ luma)[..., None]
        values = gray + saturation * (values - gray)
        expected = np.clip(np.floor(values + 0.5), 0, 255)
        found = jitter_colors(pixels, augment, np.random.default_rng(seed)).astype(np.float64)
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 0.01


def test_the_strongest_changes_saturate_and_do_not_wrap() -> None:
    augment = OFF.model_copy(update={"brightness": 0.99, "contrast": 0.99, "saturation": 0.99})
    pixels = np.where(picture(3) > 128, 255, 0).astype(np.uint8)
    for seed in range(200):
        brightness, contrast, saturation = np.random.default_rng(seed).uniform(0.01, 1.99, 3)
        values = pixels * brightness
        luma = np.array([0.299, 0.587, 0.114])
        mean = (values @ luma).mean()
        values = mean + contrast * (values - mean)
        gray = (values @ luma)[..., None]
        expected = np.clip(gray + saturation * (values - gray), 0, 255)
        found = jitter_colors(pixels, augment, np.random.default_rng(seed)).astype(np.float64)
        assert np.abs(found - expected).max() <= 1


def test_hue_keeps_gray_and_luma() -> None:
    augment = OFF.model_copy(update={"hue": 0.5})
    gray = np.repeat(picture()[..., :1], 3, axis=2)
    np.testing.assert_allclose(jitter_colors(gray, augment, np.random.default_rng(1)), gray, atol=1)
    muted = (100 + picture() // 8).astype(np.uint8)  # far enough from the borders that nothing is clipped
    luma = np.array([0.299, 0.587, 0.114])
    turned = jitter_colors(muted, augment, np.random.default_rng(1))
    assert np.abs(turned.astype(float) - muted).max() > 5
    np.testing.assert_allclose(turned @ luma, muted @ luma, atol=1)


def test_erased_rectangle_has_its_area_and_color() -> None:
    for seed in range(50):
        pixels = np.zeros((64, 48, 3), np.uint8)
        erase(pixels, FILL, np.random.default_rng(seed))
        painted = (pixels == FILL).all(axis=2)
        rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
        assert painted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (pixels[~painted] == 0).all()
        assert 0.015 < painted.mean() < 0.21


def test_rotation_fills_the_corners() -> None:
    augment = OFF.model_copy(update={"rotation": 45.0})
    turned = augment_pixels(np.zeros((40, 40, 3), np.uint8), augment, FILL, np.random.default_rng(2))
    assert (turned[0, 0] == FILL).all() and (turned[20, 20] == 0).all()
