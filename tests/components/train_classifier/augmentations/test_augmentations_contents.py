"""The steps of all presets, to the last parameter."""

import inspect
from typing import Any

import pytest

from components.shared.options import by_name
from components.train_classifier.config.augmentation import TRANSFORMS, StepSpec, presets


def description(step: StepSpec) -> str:
    if step.steps:
        return f"OneOf {step.p:g} [{'; '.join(description(part) for part in step.steps)}]"
    parameters = inspect.signature(by_name("step", step.name, TRANSFORMS)).parameters.values()
    arguments = {
        parameter.name: step.arguments.get(parameter.name, parameter.default)
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "normalization"
    }
    return " ".join([step.name, f"{step.p:g}", *(f"{name}={text_of(value)}" for name, value in arguments.items())])


def text_of(value: Any) -> str:
    if isinstance(value, tuple | list):
        if len(value) == 2 and value[0] == -value[1]:
            return f"{value[1]:g}"
        return "..".join(f"{part:g}" for part in value)
    return f"{value:g}"


FLIP = "HorizontalFlip 0.5"
CLAHE = "CLAHE 0.5 clip=1..4 tiles=8..8"
LIGHT = "RandomBrightnessContrast 0.5 brightness=0.2 contrast=0.2"
GAMMA = "RandomGamma 0.5 gamma=80..120"
HSV = "HueSaturationValue 0.5 hue=20 saturation=30 value=20"
RGB = "RGBShift 0.5 red=20 green=20 blue=20"
GRID = "GridDistortion 0.5 steps=5 limit=0.3"
POSTER = ["HorizontalFlip 0.5", "RandomErasing 1 area=0.05 aspect=0.3..3.3"]
NOISE = "GaussNoise 0.5 variance=10..50"
FACE_384 = [
    "ShiftScaleRotate 0.5 shift=0.0325 scale=0..0.2 rotate=25",
    FLIP,
    f"OneOf 0.5 [CLAHE 0.5 clip=1 tiles=8..8; {HSV}; {RGB}]",
    "RandomBrightnessContrast 0.5 brightness=0.2 contrast=0.3",
    f"OneOf 0.2 [Perspective 0.5 scale=0.05..0.1; {GRID}; OpticalDistortion 0.5 limit=0.05 shift=0.05]",
]

CONTENTS: dict[str, list[str]] = {
    "BaseAugmentation": [],
    "CustomAlbumentationAug": [],
    "MyAugmentationCenter": [],
    "MyAugmentationBust": [],
    "CustomAugmentation": [
        "ColorJitter 1 brightness=0.1 contrast=0.1 saturation=0.1 hue=0.1",
        "NormalizedNoise 1 deviation=1",
    ],
    "AutoAugmentation": ["AutoAugment 1 fill=124..116..104"],
    "GoodAugmentation": [
        FLIP,
        "ShiftScaleRotate 0.2 shift=0.0625 scale=0.1 rotate=10",
        "GaussNoise 0.4 variance=10..20",
        CLAHE, LIGHT, GAMMA, HSV, RGB,
    ],
    "AugForInception": [
        FLIP, "ShiftScaleRotate 0.5 shift=0.0625 scale=0.1 rotate=5", NOISE, CLAHE, LIGHT, GAMMA, HSV,
    ],
    "myAlbumentationAug": [
        "ShiftScaleRotate 0.5 shift=0.625 scale=-0.2..0 rotate=2",
        "RandomBrightnessContrast 0.5 brightness=0..0.2 contrast=0.1..0.3",
        GRID, CLAHE, FLIP, "CoarseDropout 0.5 holes=8 height=8 width=8 fill=0..0..0", NOISE,
    ],
    "BestAugForAlbum": [
        "ShiftScaleRotate 0.5 shift=0.075 scale=-0.3..0 rotate=2",
        "RandomBrightnessContrast 0.5 brightness=0..0.1 contrast=0.1..0.3",
        GRID, "CLAHE 0.6 clip=1..4 tiles=8..8", FLIP,
        "CoarseDropout 0.5 holes=5 height=20 width=40 fill=0..0..0", NOISE,
    ],
    "Aug0": [
        FLIP,
        "ShiftScaleRotate 0.75 shift=0.1 scale=0.1 rotate=15",
        "RGBShift 0.75 red=15 green=15 blue=15",
        "RandomBrightnessContrast 0.75 brightness=0.2 contrast=0.2",
    ],
    "BaseAugmentation_512": [
        "ShiftScaleRotate 0.5 shift=0.02 scale=0.1 rotate=20",
        FLIP,
        "OneOf 0.5 [Blur 0.5 kernel=3; MotionBlur 0.5 kernel=3]",
        "RandomBrightnessContrast 0.5 brightness=0.1 contrast=0.1",
    ],
    "Augmentation_384": FACE_384,
    "Augmentation_384_384": FACE_384,
    "CenterCropRotation": ["Rotate 1 rotate=10 fill=0..0..0"],
    "poster_v2_raf_db": [FLIP, "RandomErasing 0.5 area=0.02..0.1 aspect=0.3..3.3"],
    "poster_v2_affectnet_7": POSTER,
    "poster_v2_caer_s": POSTER,
    "poster_v2_kfe_db": POSTER,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CONTENTS))
def test_a_preset_has_its_steps_to_the_parameter(name: str) -> None:
    preset = presets()[name]
    assert [description(step) for step in (*preset.photo_steps, *preset.steps)] == CONTENTS[name]
    before_the_cut = {"myAlbumentationAug": 1, "BestAugForAlbum": 1}
    assert len(preset.photo_steps) == before_the_cut.get(name, 0)


def test_no_preset_is_missing() -> None:
    assert set(presets()) == set(CONTENTS)
