import io
import math

import numpy as np
import pytest
from augmentation_pictures import NORMALIZATION
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.augmentations.face_cut import cut_face, random_rect
from components.train_classifier.augmentations.ranges import Pixels
from components.train_classifier.config.augmentation import AugmentationSpec, FaceArguments
from serving.runtime.card import InputSize
from serving.runtime.image.header import Rect
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Placement
from serving.runtime.image.preprocess import cut_resize

OFF = FaceArguments(scale=(1, 1), aspect=(1, 1), flip=0, brightness=0, contrast=0, saturation=0, erasing=0)
FILL = tuple(round(255 * mean) for mean in NORMALIZATION.mean)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def cut(pixels: Pixels, rect: Rect, size: tuple[int, int], arguments: FaceArguments, seed: int = 0) -> Pixels:
    photo, rng = Photo(png(pixels)), np.random.default_rng(seed)
    input_size = InputSize(height=size[0], width=size[1])
    placement = Placement(rect, (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0])))
    return cut_face(photo, placement, 1.0, rng, input_size=input_size, arguments=arguments, fill=FILL)


def recolored(pixels: Pixels, arguments: FaceArguments, seed: int = 0) -> Pixels:
    """What happens to the picture after the cut."""
    size = InputSize(height=pixels.shape[0], width=pixels.shape[1])
    augmentation = make_augmentation(AugmentationSpec(arguments=arguments.model_dump()), size, NORMALIZATION)
    return augmentation.transform(pixels, np.random.default_rng(seed))


def served(pixels: Pixels, rect: Rect, size: tuple[int, int]) -> Pixels:
    return cut_resize(Photo(png(pixels)), rect, InputSize(height=size[0], width=size[1]), 1.0)


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
    arguments = FaceArguments(scale=scale, translate=translate)
    base = (left, top, left + width, top + height)
    drawn = random_rect(base, (0, 0, 100, 100), arguments, np.random.default_rng(seed))
    assert drawn[0] >= 0 and drawn[1] >= 0 and drawn[2] <= 100 + 1e-9 and drawn[3] <= 100 + 1e-9
    area = (drawn[2] - drawn[0]) * (drawn[3] - drawn[1])
    assert 0 < area <= scale[1] * width * height * (1 + 1e-9)
    if scale[1] <= 0.6 and translate == 0:  # small enough that no aspect of the default range sticks out
        assert drawn[0] >= left - 1e-9 and drawn[1] >= top - 1e-9
        assert drawn[2] <= base[2] + 1e-9 and drawn[3] <= base[3] + 1e-9


def test_rects_cover_the_range_of_areas_and_places() -> None:
    rects = [
        random_rect((10, 10, 50, 50), (0, 0, 60, 60), FaceArguments(scale=(0.25, 1.0)), np.random.default_rng(seed))
        for seed in range(300)
    ]
    areas = [(right - left) * (bottom - top) / 1600 for left, top, right, bottom in rects]
    assert min(areas) < 0.3 and max(areas) > 0.95
    assert min(rect[0] for rect in rects) < 11 and max(rect[2] for rect in rects) > 49


def test_everything_off_changes_nothing() -> None:
    pixels = picture()
    np.testing.assert_array_equal(recolored(pixels, OFF), pixels)
    np.testing.assert_array_equal(cut(pixels, (3, 4, 13, 14), (10, 10), OFF), pixels[4:14, 3:13])
    barely = OFF.model_copy(update={"rotation": 1e-9})
    np.testing.assert_array_equal(cut(pixels, (3, 4, 13, 14), (10, 10), barely), pixels[4:14, 3:13])


@pytest.mark.parametrize("rotation", [0.0, 1e-9])
def test_flip_mirrors(rotation: float) -> None:
    pixels = picture()
    mirrored = cut(pixels, (3, 4, 13, 14), (10, 10), OFF.model_copy(update={"flip": 1.0, "rotation": rotation}))
    np.testing.assert_array_equal(mirrored, pixels[4:14, 3:13][:, ::-1])


WAVES = (0.35, 0.23, 0.4)  # radians per pixel


def waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([128 + 100 * np.sin(by * (x + (k - 1) * y)) for k, by in enumerate(WAVES)], axis=-1)


@pytest.mark.parametrize(
    ("size", "tolerance"), [((44, 40), 5), ((30, 28), 12), ((90, 80), 6)], ids=["as fine", "coarser", "finer"]
)
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_turned_pictures_read_the_places_that_the_angle_says(
    size: tuple[int, int], tolerance: float, flip: float
) -> None:
    """Of smooth waves that go on around the rectangle, against the formula at the turned places."""
    photo = waves(*np.meshgrid(np.arange(100) + 0.5, np.arange(120) + 0.5)).round().astype(np.uint8)
    rect = (30.0, 40.0, 70.0, 84.0)
    seed = 5
    found = cut(photo, rect, size, OFF.model_copy(update={"rotation": 40.0, "flip": flip}), seed)
    rng = np.random.default_rng(seed)
    for _ in range(5):  # area, aspect, two places, mirror
        rng.random()
    angle = math.radians(rng.uniform(-40, 40))
    assert abs(angle) > 0.1
    u, v = np.meshgrid(np.arange(size[1]) + 0.5 - size[1] / 2, np.arange(size[0]) + 0.5 - size[0] / 2)
    if flip:
        u = -u
    x = 50 + (math.cos(angle) * u + math.sin(angle) * v) * 40 / size[1]
    y = 62 + (math.cos(angle) * v - math.sin(angle) * u) * 44 / size[0]
    assert np.abs(found - waves(x, y)).max() <= tolerance


def test_every_knot_moves_by_its_own_draw() -> None:
    rows, columns = np.arange(61), np.arange(91)
    photo = np.stack(np.broadcast_arrays(columns[None], rows[:, None], 0), axis=2).astype(np.uint8)
    seen = cut(photo, (0, 0, 91, 61), (61, 91), OFF.model_copy(update={"elastic": 0.03}), seed=3)
    rng = np.random.default_rng(3)
    rng.random(6)  # area, aspect, two places, mirror, angle
    deviation = rng.uniform(0, 0.03)
    moves = rng.normal(0, deviation, (2, 4, 4)) * np.array([91, 61])[:, None, None]
    assert deviation > 0.005
    for number, step in ((0, 30), (1, 20)):
        where = np.arange(4) * step
        expected = (where[None, :] if number == 0 else where[:, None]) + moves[number]
        inside = np.ones((4, 4), bool)
        for other, length in ((0, 91), (1, 61)):
            at = (np.arange(4)[None, :] if other == 0 else np.arange(4)[:, None]) * (30, 20)[other] + moves[other]
            inside &= (at > 2) & (at < length - 3)
        assert inside.sum() > 3
        assert seen[::20, ::30, number][inside] == pytest.approx(expected[inside], abs=1.01)
    calm = seen[5:-5, 5:-5, 0].astype(int)
    assert abs(np.diff(calm, axis=1)).max() <= 3, "no edges between the knots"


@pytest.mark.parametrize("finer", [1.0, 1.12, 1.56, 2.5, 4.0])
def test_what_is_learned_is_as_sharp_as_what_is_served(finer: float) -> None:
    """A picture that is read more than once is blurred, and a network that learns from it meets sharper ones."""
    length, rng = round(64 * finer), np.random.default_rng(0)
    photo = np.full((length + 60, length + 60), 128.0)
    for octave in range(5):  # as much contrast in every octave, as photos have
        coarse = rng.normal(0, 18, (2 + (length + 60 >> octave),) * 2).astype(np.float32)
        photo += np.asarray(Image.fromarray(coarse).resize(photo.shape, Image.Resampling.BICUBIC))
    smooth = np.repeat(photo.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    rect = (30.0, 30.0, 30.0 + length, 30.0 + length)

    def sharpness(pixels: Pixels) -> float:
        gray = pixels[4:-4, 4:-4].astype(float).mean(axis=2)
        return float(np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean())

    arguments = OFF.model_copy(update={"rotation": 12.0, "elastic": 0.02})
    learned = np.mean([sharpness(cut(smooth, rect, (64, 64), arguments, seed)) for seed in range(8)])
    assert learned / sharpness(served(smooth, rect, (64, 64))) == pytest.approx(1, abs=0.15)


def test_colors_follow_the_definitions_step_by_step() -> None:
    arguments = OFF.model_copy(update={"brightness": 0.3, "contrast": 0.4, "saturation": 0.5})
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
        found = recolored(pixels, arguments, seed).astype(np.float64)
        assert np.abs(found - expected).max() <= 1
        assert abs((found - expected).mean()) < 0.06


def test_the_strongest_changes_saturate_and_do_not_wrap() -> None:
    arguments = OFF.model_copy(update={"brightness": 0.99, "contrast": 0.99, "saturation": 0.99})
    pixels = np.where(picture(3) > 128, 255, 0).astype(np.uint8)
    for seed in range(200):
        brightness, contrast, saturation = np.random.default_rng(seed).uniform(0.01, 1.99, 3)
        values = pixels * brightness
        luma = np.array([0.299, 0.587, 0.114])
        mean = (values @ luma).mean()
        values = mean + contrast * (values - mean)
        gray = (values @ luma)[..., None]
        expected = np.clip(gray + saturation * (values - gray), 0, 255)
        found = recolored(pixels, arguments, seed).astype(np.float64)
        assert np.abs(found - expected).max() <= 1


def test_hue_keeps_gray_and_luma() -> None:
    arguments = OFF.model_copy(update={"hue": 0.5})
    gray = np.repeat(picture()[..., :1], 3, axis=2)
    np.testing.assert_allclose(recolored(gray, arguments, 1), gray, atol=1)
    muted = (100 + picture() // 8).astype(np.uint8)  # far enough from the borders that nothing is clipped
    luma = np.array([0.299, 0.587, 0.114])
    turned = recolored(muted, arguments, 1)
    assert np.abs(turned.astype(float) - muted).max() > 5
    np.testing.assert_allclose(turned @ luma, muted @ luma, atol=1)


def test_erased_rectangle_has_its_area_and_color() -> None:
    for seed in range(50):
        pixels = recolored(np.zeros((64, 48, 3), np.uint8), OFF.model_copy(update={"erasing": 1.0}), seed)
        painted = (pixels == FILL).all(axis=2)
        rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
        assert painted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (pixels[~painted] == 0).all()
        assert 0.015 < painted.mean() < 0.21


def test_a_turned_corner_shows_what_is_around_and_beyond_the_image_the_fill() -> None:
    arguments = OFF.model_copy(update={"rotation": 45.0})
    black = np.zeros((80, 80, 3), np.uint8)
    assert (cut(black, (20, 20, 60, 60), (40, 40), arguments, seed=2) == 0).all()
    turned = cut(black, (0, 0, 80, 80), (40, 40), arguments, seed=2)
    assert (turned[0, 0] == FILL).all() and (turned[20, 20] == 0).all()
