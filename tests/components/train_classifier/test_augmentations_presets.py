"""The named augmentations: what they consist of, what they cut, and that validation sees none of it (mask 36)."""

import hashlib
import inspect
import io
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from augmentation_pictures import NORMALIZATION, noise, smooth
from PIL import Image
from torchvision.transforms.v2 import functional

from components.train_classifier.augment import augment_pixels, random_rect
from components.train_classifier.augmentation_config import AUGMENTATION_NAMES, AugmentationSpec, StepSpec
from components.train_classifier.augmentations.build import Augmentation, make_augmentation
from components.train_classifier.augmentations.presets import PRESETS, frame_of
from components.train_classifier.augmentations.steps import TRANSFORMS
from components.train_classifier.config import Augment
from serving.runtime.card import CropRule, InputSize, ModelCard
from serving.runtime.errors import InputError
from serving.runtime.preprocess import crop_rect, decode_crop_resize, decode_rect_resize

CROP = CropRule(scale=1.2)
BOX = (90.0, 100.0, 180.0, 240.0)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


PHOTO = smooth(512, 384)
PNG, JPEG = encoded(PHOTO), encoded(PHOTO, "JPEG")


def named(name: str, height: int = 64, width: int = 48, **spec: Any) -> Augmentation:
    size = InputSize(height=height, width=width)
    return make_augmentation(AugmentationSpec(name=name, **spec), size, NORMALIZATION)


def rule(name: str, **spec: Any) -> CropRule:
    return CropRule(scale=CROP.scale, frame=frame_of(AugmentationSpec(name=name, **spec)))


def without_chance(name: str) -> dict[str, Any]:
    """Arguments that turn every step of a preset off."""
    preset = PRESETS[name]
    return {step.name: {"p": 0} for step in (*preset.photo_steps, *preset.steps)}


# --- contents ------------------------------------------------------------------------------------------------------


def described(step: StepSpec) -> str:
    if step.steps:
        return f"OneOf {step.p:g} [{'; '.join(described(part) for part in step.steps)}]"
    parameters = inspect.signature(TRANSFORMS[step.name]).parameters.values()
    arguments = {
        parameter.name: step.arguments.get(parameter.name, parameter.default)
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "normalization"
    }
    return " ".join([step.name, f"{step.p:g}", *(f"{name}={shown(value)}" for name, value in arguments.items())])


def shown(value: Any) -> str:
    if isinstance(value, tuple):
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
POSTER = ["HorizontalFlip 0.5", "RandomErasing 1 area=0.05..0.05 aspect=0.3..3.3"]
NOISE = "GaussNoise 0.5 variance=10..50"
FACE_384 = [
    "ShiftScaleRotate 0.5 shift=0.0325 scale=0..0.2 rotate=25",
    FLIP,
    f"OneOf 0.5 [CLAHE 0.5 clip=1 tiles=8..8; {HSV}; {RGB}]",
    "RandomBrightnessContrast 0.5 brightness=0.2 contrast=0.3",
    f"OneOf 0.2 [Perspective 0.5 scale=0.05..0.1; {GRID}; OpticalDistortion 0.5 limit=0.05 shift=0.05]",
]

CONTENTS: dict[str, list[str]] = {
    "none": [],
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


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_has_its_steps_to_the_parameter(name: str) -> None:
    preset = PRESETS[name]
    assert [described(step) for step in (*preset.photo_steps, *preset.steps)] == CONTENTS[name]
    before_the_cut = {"myAlbumentationAug": 1, "BestAugForAlbum": 1}
    assert len(preset.photo_steps) == before_the_cut.get(name, 0)


def test_every_name_has_its_preset() -> None:
    assert set(AUGMENTATION_NAMES) == {"face", *PRESETS} == {"face", *CONTENTS}
    assert list(AUGMENTATION_NAMES) == sorted(AUGMENTATION_NAMES)


# --- training and validation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AUGMENTATION_NAMES)
@pytest.mark.parametrize("size", [(64, 48), (8, 300)])
def test_pixels_have_the_input_size_and_are_a_function_of_the_seed(name: str, size: tuple[int, int]) -> None:
    augmentation, crop = pickle.loads(pickle.dumps(named(name, *size))), rule(name)
    for data in (JPEG, encoded(noise(1, 1)), encoded(noise(3, 200), "JPEG")):
        box = BOX if data is JPEG else None
        for seed in range(2):
            first = augmentation.train_pixels(data, box, crop, np.random.default_rng(seed))
            assert first.shape == (*size, 3) and first.dtype == np.uint8
            again = named(name, *size).train_pixels(data, box, crop, np.random.default_rng(seed))
            np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", AUGMENTATION_NAMES)
def test_training_varies_where_it_should_and_validation_never(name: str) -> None:
    """The defect that validation pictures went through the random training augmentation."""
    augmentation, crop = named(name), rule(name)
    trained = {
        hashlib.sha256(augmentation.train_pixels(JPEG, BOX, crop, np.random.default_rng(seed)).tobytes()).digest()
        for seed in range(10)
    }
    assert len(trained) == 1 if CONTENTS.get(name) == [] else len(trained) >= 4
    assert "rng" not in inspect.signature(augmentation.eval_pixels).parameters
    state = np.random.get_state()[1].copy()
    validated = [augmentation.eval_pixels(JPEG, BOX, crop) for _ in range(3)]
    assert all(np.array_equal(pixels, validated[0]) for pixels in validated)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_training_and_validation_see_the_same_framing(name: str) -> None:
    """The defect that testing cut 299 pixels whatever training had cut."""
    augmentation, crop = named(name, arguments=without_chance(name)), rule(name)
    for data in (PNG, JPEG, encoded(smooth(300, 400))):
        trained = augmentation.train_pixels(data, BOX, crop, np.random.default_rng(0)).astype(int)
        difference = np.abs(trained - augmentation.eval_pixels(data, BOX, crop))
        stretched_twice = PRESETS[name].photo_steps and data is not PNG
        assert difference.max() <= (12 if stretched_twice else 0)


@pytest.mark.parametrize("name", AUGMENTATION_NAMES)
def test_validation_is_what_serving_does(name: str) -> None:
    card = ModelCard.model_validate(
        {
            "name": "tiny",
            "label_space": "mask",
            "heads": [{"name": "mask", "labels": ["worn", "incorrect", "absent"]}],
            "input": {"height": 64, "width": 48},
            "crop": rule(name),
            "normalization": NORMALIZATION,
            "leaks": False,
            "versions": {},
            "dataset_digest": "",
            "training_digest": "",
        }
    )
    for box in (BOX, None):
        np.testing.assert_array_equal(named(name).eval_pixels(PNG, box, rule(name)), decode_crop_resize(PNG, box, card))


def test_whole_image_presets_cut_nothing() -> None:
    size = InputSize(height=64, width=48)
    expected = decode_rect_resize(PNG, crop_rect((512, 384), None, CROP, size), (512, 384), size, 1.0)
    for name in ("BaseAugmentation", "AutoAugmentation", "CustomAlbumentationAug", "Aug0"):
        np.testing.assert_array_equal(named(name).eval_pixels(PNG, BOX, rule(name)), expected)


CENTRES = {
    "CustomAugmentation": (320, 256),
    "MyAugmentationCenter": (256, 256),
    "GoodAugmentation": (256, 256),
    "AugForInception": (299, 299),
    "myAlbumentationAug": (360, 360),
    "BestAugForAlbum": (360, 360),
    "CenterCropRotation": (256, 256),
}


@pytest.mark.parametrize("name", [*CENTRES, "MyAugmentationBust"])
def test_frames_are_the_centre_crops_of_a_photo(name: str) -> None:
    picture = torch.from_numpy(PHOTO).permute(2, 0, 1)
    if name == "MyAugmentationBust":
        expected = functional.center_crop(functional.pad(picture, [114, 0, 114, 114]), [360, 360])
    else:
        # The half pixel of an odd difference is left to the one side or the other.
        height, width = CENTRES[name]
        expected = functional.crop(picture, (512 - height) // 2, (384 - width) // 2, height, width)
    pixels = named(name, *expected.shape[1:]).eval_pixels(PNG, BOX, rule(name))
    np.testing.assert_array_equal(pixels, expected.permute(1, 2, 0).numpy())


def test_the_face_preset_is_the_present_augmentation() -> None:
    augmentation = named("face", arguments={"flip": 1, "rotation": 20, "scale": [0.4, 0.9]})
    augment = Augment(flip=1, rotation=20, scale=(0.4, 0.9))
    size = InputSize(height=64, width=48)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rect = random_rect(crop_rect((512, 384), BOX, CROP, size), (512, 384), augment, rng)
        pixels = decode_rect_resize(PNG, rect, (512, 384), size, 1.0)
        expected = augment_pixels(pixels, augment, (124, 116, 104), rng)
        found = augmentation.train_pixels(PNG, BOX, CROP, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, expected)


# --- what a user may change ----------------------------------------------------------------------------------------


def test_arguments_are_laid_over_the_steps() -> None:
    arguments = {
        **without_chance("Augmentation_384"),
        "ShiftScaleRotate": {"p": 1, "rotate": [180, 180], "shift": 0, "scale": 0},
    }
    turned = named("Augmentation_384", arguments=arguments).train_pixels(PNG, BOX, CROP, np.random.default_rng(0))
    plain = named("Augmentation_384").eval_pixels(PNG, BOX, CROP)
    np.testing.assert_array_equal(turned, plain[::-1, ::-1])
    # Inside OneOf as well.
    only_red = {
        **without_chance("Augmentation_384"),
        "OneOf": {"p": 1},
        "CLAHE": {"p": 0},
        "HueSaturationValue": {"p": 0},
        "RGBShift": {"red": [9, 9], "green": 0, "blue": 0},
        "Perspective": {"p": 0},
        "OpticalDistortion": {"p": 0},
        "GridDistortion": {"limit": 0},
    }
    redder = named("Augmentation_384", arguments=only_red).train_pixels(PNG, BOX, CROP, np.random.default_rng(0))
    np.testing.assert_array_equal(redder, np.clip(plain.astype(int) + np.array([9, 0, 0]), 0, 255))


def test_steps_come_after_the_preset() -> None:
    step = {"name": "RandomGamma", "p": 1, "arguments": {"gamma": 50}}
    pixels = named("none", steps=[step]).train_pixels(PNG, BOX, CROP, np.random.default_rng(0)).astype(int)
    plain = named("none").eval_pixels(PNG, BOX, CROP)
    np.testing.assert_array_equal(pixels, np.rint(255 * (plain / 255) ** 0.5))


@pytest.mark.parametrize("name", AUGMENTATION_NAMES)
def test_the_frame_may_be_changed(name: str) -> None:
    arguments = without_chance(name) if name in PRESETS else {"scale": [1, 1], "aspect": [1, 1]}
    plain = named("none").eval_pixels(PNG, BOX, rule("none", frame=(0.25, 0.1, 0.75, 0.6)))
    part = decode_rect_resize(PNG, (96, 51.2, 288, 307.2), (512, 384), InputSize(height=64, width=48), 1.0)
    np.testing.assert_array_equal(plain, part)
    for frame in ("face", "image", (0.25, 0.1, 0.75, 0.6)):
        augmentation, crop = named(name, arguments=arguments, frame=frame), rule(name, frame=frame)
        expected = named("none").eval_pixels(PNG, BOX, crop)
        np.testing.assert_array_equal(augmentation.eval_pixels(PNG, BOX, crop), expected)
        if name != "face":
            trained = augmentation.train_pixels(PNG, BOX, crop, np.random.default_rng(0))
            np.testing.assert_array_equal(trained, expected)


def darker(input_size: InputSize, normalization: Any, by: int = 1) -> Any:
    assert input_size.height == 64 and normalization is NORMALIZATION
    return lambda pixels, rng: pixels // by


def too_small(input_size: InputSize, normalization: Any) -> Any:
    return lambda pixels, rng: pixels[1:]


def test_an_augmentation_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = named(f"{__name__}:darker", arguments={"by": 2}).train_pixels(PNG, BOX, CROP, np.random.default_rng(0))
    np.testing.assert_array_equal(pixels, named("none").eval_pixels(PNG, BOX, CROP) // 2)
    with pytest.raises(InputError, match="no argument 'times'.*by"):
        named(f"{__name__}:darker", arguments={"times": 2})
    with pytest.raises(InputError, match=r"expected uint8 \(64, 48, 3\)"):
        named(f"{__name__}:too_small").train_pixels(PNG, BOX, CROP, np.random.default_rng(0))
    with pytest.raises(InputError, match="cannot be imported"):
        named("no_such_module:augmentation")


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("Augmentation_384", {"Blur": {}}, ["'Blur'", "ShiftScaleRotate", "HueSaturationValue", "Perspective"]),
        ("Augmentation_384", {"CLAHE": {"limit": 3}}, ["CLAHE", "limit", "clip"]),
        ("Augmentation_384", {"CLAHE": {"p": 2}}, ["CLAHE", "'p'"]),
        ("Augmentation_384", {"CLAHE": 2}, ["CLAHE", "mapping"]),
        ("none", {"rotate": 2}, ["'none'", "rotate", "its steps: none"]),
        ("face", {"rotate": 2}, ["face", "rotate", "rotation"]),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        named(name, arguments=arguments)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"name": "augmentation_348"}, ["Augmentation_384", "GoodAugmentation", "package.module:name"]),
        ({"frame": "faces"}, ["frame"]),
        ({"frame": [0.5, 0, 0.5, 1]}, ["left < right"]),
        ({"steps": [{"name": "Blurr"}]}, ["Blur"]),
        ({"strength": 1}, ["strength"]),
    ],
)
def test_wrong_specs_are_refused(spec: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        AugmentationSpec.model_validate(spec)
    assert all(part in str(caught.value) for part in parts)


def test_neither_the_config_nor_the_transforms_need_torch() -> None:
    code = "import sys, components.train_classifier.augmentations.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
