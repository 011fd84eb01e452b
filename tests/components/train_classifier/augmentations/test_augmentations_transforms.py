"""Properties of all transforms: size and type, determinism, probability, neutral and wrong arguments."""

import hashlib
from typing import Any

import numpy as np
import pytest
from augmentation_pictures import NORMALIZATION, apply, noise, smooth
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train_classifier.augmentations.build import make_steps
from components.train_classifier.config.augmentation import TRANSFORMS, StepSpec
from serving.runtime.errors import InputError

SIZES = [(1, 1), (1, 7), (9, 1), (2, 2), (8, 700), (700, 8), (31, 45)]

# Arguments that change nothing, for the transforms that have such.
NEUTRAL: dict[str, dict[str, Any]] = {
    "ColorJitter": {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "GridDistortion": {"limit": 0},
    "HueSaturationValue": {"hue": 0, "saturation": 0, "value": 0},
    "NormalizedNoise": {"deviation": 0},
    "OpticalDistortion": {"limit": 0, "shift": 0},
    "RGBShift": {"red": 0, "green": 0, "blue": 0},
    "RandomBrightnessContrast": {"brightness": 0, "contrast": 0},
    "RandomGamma": {"gamma": 100},
    "Rotate": {"rotate": 0},
    "ShiftScaleRotate": {"shift": 0, "scale": 0, "rotate": 0},
}


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
@pytest.mark.parametrize("size", SIZES)
def test_size_and_type_are_kept_at_any_size(name: str, size: tuple[int, int]) -> None:
    pixels = noise(*size)
    before = pixels.copy()
    for seed in range(3):
        changed = apply(name, seed, pixels)
        assert changed.shape == pixels.shape and changed.dtype == np.uint8 and changed.flags.c_contiguous
    np.testing.assert_array_equal(pixels, before, "the input is not modified")


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(TRANSFORMS)), st.integers(1, 50), st.integers(1, 50), st.integers(0, 2**32))
def test_equal_seeds_give_equal_bytes(name: str, height: int, width: int, seed: int) -> None:
    pixels = noise(height, width, seed)
    first, second = apply(name, seed, pixels), apply(name, seed, pixels.copy(order="F"))
    assert first.shape == pixels.shape
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_steps_are_applied_with_their_probability(name: str) -> None:
    pixels = smooth()
    for seed in range(5):
        assert apply(name, seed, pixels, p=0.0) is pixels
    different = [not np.array_equal(apply(name, seed, pixels), pixels) for seed in range(20)]
    assert sum(different) >= (1 if name == "AutoAugment" else 18)
    half = [apply(name, seed, pixels, p=0.5) is not pixels for seed in range(100)]
    assert 30 <= sum(half) <= 70


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_different_seeds_give_different_pictures(name: str) -> None:
    results = {hashlib.sha256(apply(name, seed, smooth(120, 100)).tobytes()).digest() for seed in range(20)}
    assert len(results) >= {"HorizontalFlip": 1, "Blur": 3, "CLAHE": 3}.get(name, 5)


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_neutral_arguments_change_nothing(name: str) -> None:
    for size in SIZES:
        pixels = noise(*size)
        np.testing.assert_array_equal(apply(name, 3, pixels, **NEUTRAL[name]), pixels)


def test_one_of_applies_exactly_one_by_weight() -> None:
    steps = (
        StepSpec(name="HorizontalFlip", p=0.9),
        StepSpec(name="RGBShift", p=0.3, arguments={"red": [50, 50], "green": 0, "blue": 0}),
        StepSpec(name="RandomGamma", p=0.0),
    )
    one_of = make_steps([StepSpec(name="OneOf", p=1, steps=steps)], NORMALIZATION)
    pixels = smooth() // 2
    flips = 0
    for seed in range(400):
        changed = one_of(pixels, np.random.default_rng(seed))
        flipped = np.array_equal(changed, pixels[:, ::-1])
        assert flipped or np.array_equal(changed, pixels + np.array([50, 0, 0], np.uint8))
        flips += flipped
    assert 270 <= flips <= 330, "three quarters"


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ({"name": "ShiftScaleRotat"}, ["ShiftScaleRotate"]),
        ({"name": "OneOf"}, ["OneOf needs steps"]),
        ({"name": "Blur", "steps": [{"name": "Blur"}]}, ["OneOf"]),
        ({"name": "OneOf", "steps": [{"name": "Blur", "p": 0}]}, ["above 0"]),
    ],
)
def test_wrong_steps_are_refused(step: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        StepSpec.model_validate(step)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("ShiftScaleRotate", {"rotation": 3}, ["rotation", "rotate, scale, shift"]),
        ("ShiftScaleRotate", {"scale": -1.0}, ["scale"]),
        ("ShiftScaleRotate", {"scale": [-1.0, 0]}, ["scale", "-0.9"]),
        ("ShiftScaleRotate", {"rotate": "much"}, ["rotate", "much"]),
        ("ShiftScaleRotate", {"shift": float("nan")}, ["shift"]),
        ("RandomGamma", {"gamma": [0, 100]}, ["gamma", "greater than 0"]),
        ("Blur", {"kernel": 4}, ["kernel", "odd"]),
        ("RandomErasing", {"area": [0.2, 1.2]}, ["area"]),
        ("RandomErasing", {"normalization": 1}, ["normalization"]),
        ("CoarseDropout", {"holes": 0}, ["holes"]),
        ("GridDistortion", {"limit": [0.3, -0.3]}, ["limit"]),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        apply(name, 0, noise(), **arguments)
    assert all(part in str(caught.value) for part in [name, *parts]), str(caught.value)


def test_integers_may_be_given_as_floats() -> None:
    np.testing.assert_array_equal(
        apply("CoarseDropout", 1, noise(), holes=3.0, width=4.0), apply("CoarseDropout", 1, noise(), holes=3, width=4)
    )
