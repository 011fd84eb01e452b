"""The named augmentations: what they cut, and that validation is not augmented."""

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

from components.train_classifier.augmentations.build import Augmentation, make_augmentation
from components.train_classifier.augmentations.color import jitter
from components.train_classifier.augmentations.face_cut import cut_face
from components.train_classifier.augmentations.filters import random_erasing
from components.train_classifier.config.augmentation import NAMES, AugmentationSpec, FaceArguments, frame_of, presets
from serving.runtime.card import ClassificationCard, CropRule, InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import crop_rect, place
from serving.runtime.image.preprocess import decode_crop_resize, decode_rect_resize

ALL_NAMES = (*NAMES, *presets())
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
    preset = AugmentationSpec(name=name).preset
    return {step.name: {"p": 0} for step in (*preset.photo_steps, *preset.steps)}


# --- training and validation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_NAMES)
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


@pytest.mark.parametrize("name", ALL_NAMES)
def test_training_varies_where_it_should_and_validation_never(name: str) -> None:
    augmentation, crop = named(name), rule(name)
    trained = {
        hashlib.sha256(augmentation.train_pixels(JPEG, BOX, crop, np.random.default_rng(seed)).tobytes()).digest()
        for seed in range(10)
    }
    preset = AugmentationSpec(name=name).preset
    random = name == "face" or preset.photo_steps + preset.steps
    assert len(trained) >= 4 if random else len(trained) == 1
    assert "rng" not in inspect.signature(augmentation.eval_pixels).parameters
    state = np.random.get_state()[1].copy()
    validated = [augmentation.eval_pixels(JPEG, BOX, crop) for _ in range(3)]
    assert all(np.array_equal(pixels, validated[0]) for pixels in validated)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("name", ("none", *presets()))
def test_training_and_validation_see_the_same_framing(name: str) -> None:
    augmentation, crop = named(name, arguments=without_chance(name)), rule(name)
    for data in (PNG, JPEG, encoded(smooth(300, 400))):
        trained = augmentation.train_pixels(data, BOX, crop, np.random.default_rng(0)).astype(int)
        difference = np.abs(trained - augmentation.eval_pixels(data, BOX, crop))
        stretched_twice = AugmentationSpec(name=name).preset.photo_steps and data is not PNG
        assert difference.max() <= (12 if stretched_twice else 0)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_validation_is_what_serving_does(name: str) -> None:
    card = ClassificationCard.model_validate(
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


CENTERS = {
    "CustomAugmentation": (320, 256),
    "MyAugmentationCenter": (256, 256),
    "GoodAugmentation": (256, 256),
    "AugForInception": (299, 299),
    "myAlbumentationAug": (360, 360),
    "BestAugForAlbum": (360, 360),
    "CenterCropRotation": (256, 256),
}


@pytest.mark.parametrize("name", [*CENTERS, "MyAugmentationBust"])
def test_frames_are_the_center_crops_of_a_photo(name: str) -> None:
    picture = torch.from_numpy(PHOTO).permute(2, 0, 1)
    if name == "MyAugmentationBust":
        expected = functional.center_crop(functional.pad(picture, [114, 0, 114, 114]), [360, 360])
    else:
        # The half pixel of an odd difference is left to the one side or the other.
        height, width = CENTERS[name]
        expected = functional.crop(picture, (512 - height) // 2, (384 - width) // 2, height, width)
    pixels = named(name, *expected.shape[1:]).eval_pixels(PNG, BOX, rule(name))
    np.testing.assert_array_equal(pixels, expected.permute(1, 2, 0).numpy())


def test_face_cuts_then_recolors_then_erases_as_its_arguments_say() -> None:
    arguments = FaceArguments(flip=1, rotation=20, scale=(0.4, 0.9), hue=0.1, erasing=1)
    augmentation = named("face", arguments=arguments.model_dump())
    size, fill = InputSize(height=64, width=48), (124, 116, 104)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        placement = place((512, 384), BOX, CROP, size)
        pixels = cut_face(Photo(PNG), placement, CROP.min_decode, rng, input_size=size, arguments=arguments, fill=fill)
        pixels = jitter(pixels, rng, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
        rng.random()  # whether a part is erased
        expected = random_erasing(pixels, rng, normalization=NORMALIZATION, area=(0.02, 0.2), aspect=(1 / 3, 3))
        trained = augmentation.train_pixels(PNG, BOX, CROP, np.random.default_rng(seed))
        np.testing.assert_array_equal(trained, expected)


# --- what a user may change ----------------------------------------------------------------------------------------


def test_arguments_override_those_of_the_steps() -> None:
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


def test_steps_are_applied_after_the_preset() -> None:
    step = {"name": "RandomGamma", "p": 1, "arguments": {"gamma": 50}}
    pixels = named("none", steps=[step]).train_pixels(PNG, BOX, CROP, np.random.default_rng(0)).astype(int)
    plain = named("none").eval_pixels(PNG, BOX, CROP)
    np.testing.assert_array_equal(pixels, np.rint(255 * (plain / 255) ** 0.5))


@pytest.mark.parametrize("name", ALL_NAMES)
def test_the_frame_may_be_changed(name: str) -> None:
    arguments = without_chance(name) if name != "face" else {"scale": [1, 1], "aspect": [1, 1]}
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


def test_an_augmentation_by_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
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
        ("Augmentation_384", {"CLAHE": {"p": 2}}, ["CLAHE", "p = 2: "]),
        ("Augmentation_384", {"CLAHE": 2}, ["CLAHE", "mapping"]),
        ("none", {"rotate": 2}, ["'none'", "rotate", "its steps: none"]),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        named(name, arguments=arguments)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"name": "augmentation_348"}, ["known: face, none, or your own as 'package.module:name'"]),
        ({"name": "fase"}, ["did you mean 'face'?"]),
        ({"arguments": {"rotate": 2}}, ["arguments.rotate"]),
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
    code = (
        "import sys, components.train_classifier.config.training; "
        "from components.shared.options import imported; "
        "from components.train_classifier.config.augmentation import TRANSFORMS; "
        "assert all(imported('step', path) for path in TRANSFORMS.values()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
