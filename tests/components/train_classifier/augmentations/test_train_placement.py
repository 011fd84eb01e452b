"""Training cuts faces where serving does, for every crop rule, background included."""

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.config.augmentation import AugmentationSpec
from components.train_classifier.config.training import IMAGENET, resolve_config
from serving.runtime.card import CropRule, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import place
from serving.runtime.image.preprocess import cut_placed

STILL = {
    **{"scale": (1, 1), "aspect": (1, 1), "flip": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "erasing": 0,
}
RULES: dict[str, dict[str, Any]] = {
    "default": {},
    "4:3": {"aspect": 4 / 3},
    "rectangle": {"mode": "rectangle"},
    "square": {"mode": "square", "background": 200},
    "fit_inside": {"mode": "fit_inside"},
    "short_side": {"mode": "short_side"},
    "eyes": {"eyes": ((0.3, 0.35), (0.7, 0.35)), "background": 50},
}
SIZE = InputSize(height=64, width=48)
POINTS = {"left_eye": (20.0, 60.0), "right_eye": (75.0, 80.0)}
BOXES = [(5.0, 30.0, 80.0, 100.0), (100.0, 100.0, 90.0, 60.0), (150.0, 150.0, 30.0, 30.0)]


def photo() -> bytes:
    coarse = np.random.default_rng(0).integers(60, 190, (7, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((240, 200), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = photo()


def trained(crop: CropRule, box: Any, seed: int = 0, **arguments: Any) -> np.ndarray:
    made = make_augmentation(AugmentationSpec(arguments=STILL | arguments), SIZE, IMAGENET)
    return made.train_pixels(PHOTO, box, crop, np.random.default_rng(seed), keypoints=POINTS)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("name", RULES)
def test_without_draws_a_training_picture_is_the_served_one(name: str, box: Any) -> None:
    crop = CropRule.model_validate(RULES[name])
    picture = Photo(PHOTO)
    served = cut_placed(picture, place(picture.upright, box, crop, SIZE, POINTS), SIZE, 1.0).astype(float)
    validated = make_augmentation(AugmentationSpec(), SIZE, IMAGENET).eval_pixels(PHOTO, box, crop, keypoints=POINTS)
    np.testing.assert_array_equal(validated, served)
    for rotation in (0.0, 1e-6):  # by a resize, and by coordinates
        pixels = trained(crop, box, rotation=rotation).astype(float)
        background = (served == (crop.background or 0)).all(axis=2)
        assert ((pixels == (crop.background or 0)).all(axis=2) != background).mean() < 0.03, (
            "the seam may move by a pixel"
        )
        assert np.median(np.abs(pixels - served)[~background]) <= 2, (name, rotation)
        assert np.abs(pixels - served)[~background].mean() < 3


@pytest.mark.parametrize("name", ["square", "fit_inside", "short_side", "eyes"])
def test_a_turned_and_moved_training_picture_shows_background_where_the_rule_has_it(name: str) -> None:
    """The picture has no level of the background, and the mean color of erased parts is nowhere."""
    crop = CropRule.model_validate(RULES[name])
    for seed in range(20):
        pixels = trained(crop, BOXES[0], seed, rotation=25, scale=(0.5, 1.4), translate=0.2, flip=0.5, elastic=0.02)
        background = (pixels == (crop.background or 0)).all(axis=2)
        assert not (pixels == np.array([124, 116, 104])).all(axis=2).any()
        seen = pixels[~background]
        assert seen.size == 0 or (seen.min() >= 30 and seen.max() <= 215)


def test_a_mirrored_aligned_picture_is_the_mirror_of_it() -> None:
    crop = CropRule.model_validate(RULES["eyes"])
    for rotation in (0.0, 1e-6):
        plain, mirrored = (trained(crop, None, flip=flip, rotation=rotation).astype(float) for flip in (0, 1))
        assert np.abs(mirrored[:, ::-1] - plain).mean() < 2


@pytest.mark.parametrize("angle", [0.5, -0.5])
def test_the_eyes_of_training_are_where_serving_has_them(angle: float) -> None:
    """Two dots at the eyes come to the same pixels of the input in both, at any angle."""
    points = {
        "left_eye": (120 - 30 * math.cos(angle), 100 - 30 * math.sin(angle)),
        "right_eye": (120 + 30 * math.cos(angle), 100 + 30 * math.sin(angle)),
    }
    y, x = np.mgrid[:200, :240] + 0.5
    dots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points.values())
    buffer = io.BytesIO()
    Image.fromarray(np.repeat((255 * dots)[:, :, None], 3, axis=2).astype(np.uint8)).save(buffer, "PNG")
    crop = CropRule.model_validate(RULES["eyes"] | {"background": None})
    for rotation in (0.0, 1e-6):
        made = make_augmentation(AugmentationSpec(arguments=STILL | {"rotation": rotation}), SIZE, IMAGENET)
        for pixels in (
            made.train_pixels(buffer.getvalue(), None, crop, np.random.default_rng(0), keypoints=points),
            made.eval_pixels(buffer.getvalue(), None, crop, keypoints=points),
        ):
            for half, share in ((slice(0, 24), 0.3), (slice(24, 48), 0.7)):
                weight = pixels[:, half, 0].astype(float)
                rows, columns = np.mgrid[: SIZE.height, half.start : half.stop] + 0.5
                center = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
                assert center == pytest.approx((share * SIZE.width, 0.35 * SIZE.height), abs=0.4)


def test_a_training_has_the_rule_in_its_card_and_digest() -> None:
    plain = resolve_config({}, label_space="mask")
    square = resolve_config({"crop_rule": "square", "crop_scale": 1.5}, label_space="mask")
    assert square.crop == CropRule(mode="square", scale=1.5) and plain.crop == CropRule()
    assert "crop_rule" not in plain.model_dump(mode="json"), "configurations without it have the digests of before"
    assert square.digest("a") != resolve_config({"crop_scale": 1.5}, label_space="mask").digest("a")
    assert resolve_config(square.model_dump(mode="json")) == square
    with pytest.raises(InputError, match=r"crop_rule.*augmentation 'Aug0' cuts the frame.*augmentation.frame to face"):
        resolve_config({"crop_rule": "square", "augmentation": "Aug0"}, label_space="mask")
