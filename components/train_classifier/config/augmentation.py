"""The augmentation of a training, as a user writes it, and its presets. Imports no torch.

The presets in `augmentation_presets.yaml` reproduce earlier projects and papers. They end at the network's input size
and leave the normalization to the network.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from components.shared.options import name_alone, unknown_name
from serving.runtime.card import WHOLE, Frame, InputSize
from serving.runtime.validation import Frozen

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Area = Annotated[float, Field(gt=0.0, le=2.0)]

NAMES = ("face", "none")
"""The general augmentations. Presets of earlier projects are valid too, but messages do not list them."""

PHOTO = InputSize(height=512, width=384)

_AUGMENTATIONS = "components.train_classifier.augmentations"
TRANSFORMS = {
    "AutoAugment": f"{_AUGMENTATIONS}.auto_augment:auto_augment",
    "Blur": f"{_AUGMENTATIONS}.filters:blur",
    "CLAHE": f"{_AUGMENTATIONS}.color:clahe",
    "CoarseDropout": f"{_AUGMENTATIONS}.filters:coarse_dropout",
    "ColorJitter": f"{_AUGMENTATIONS}.color:color_jitter",
    "GaussNoise": f"{_AUGMENTATIONS}.filters:gauss_noise",
    "GridDistortion": f"{_AUGMENTATIONS}.geometry:grid_distortion",
    "HorizontalFlip": f"{_AUGMENTATIONS}.geometry:horizontal_flip",
    "HueSaturationValue": f"{_AUGMENTATIONS}.color:hue_saturation_value",
    "MotionBlur": f"{_AUGMENTATIONS}.filters:motion_blur",
    "NormalizedNoise": f"{_AUGMENTATIONS}.filters:normalized_noise",
    "OpticalDistortion": f"{_AUGMENTATIONS}.geometry:optical_distortion",
    "Perspective": f"{_AUGMENTATIONS}.geometry:perspective",
    "RGBShift": f"{_AUGMENTATIONS}.color:rgb_shift",
    "RandomBrightnessContrast": f"{_AUGMENTATIONS}.color:random_brightness_contrast",
    "RandomErasing": f"{_AUGMENTATIONS}.filters:random_erasing",
    "RandomGamma": f"{_AUGMENTATIONS}.color:random_gamma",
    "Rotate": f"{_AUGMENTATIONS}.geometry:rotate",
    "ShiftScaleRotate": f"{_AUGMENTATIONS}.geometry:shift_scale_rotate",
}
"""Step -> import path of a function of a picture, uint8 (h,w,3) RGB, and a generator.

It returns a new picture of the same size. Its keyword arguments are what a configuration may set, except
`normalization`, which is that of the training.
"""


class StepSpec(Frozen):
    """One random transform of a picture, applied with probability `p`. A plain name is short for `{name: ...}`.

        {name: ShiftScaleRotate, p: 0.5, arguments: {rotate: 20, scale: [0, 0.2]}}
        {name: OneOf, p: 0.5, steps: [Blur, MotionBlur]}

    `arguments` are those of the function behind the name; a range may be a number n, short for [-n, n], where it lies
    around zero. OneOf applies exactly one of its `steps`; their `p` are then their relative weights.
    """

    name: str
    p: Share = 0.5
    arguments: dict[str, Any] = Field(default_factory=dict)
    steps: tuple[Annotated["StepSpec", BeforeValidator(name_alone)], ...] = ()

    @model_validator(mode="after")
    def _valid(self) -> "StepSpec":
        names = (*TRANSFORMS, "OneOf")
        if self.name not in names:
            raise ValueError(unknown_name("augmentation step", self.name, names, importable=False))
        if (self.name == "OneOf") != bool(self.steps):
            raise ValueError("OneOf needs steps, and no other step takes them")
        if self.steps and (self.arguments or not any(step.p > 0 for step in self.steps)):
            raise ValueError("OneOf takes no arguments, and the p of at least one of its steps must be above 0")
        return self


Steps = tuple[Annotated[StepSpec, BeforeValidator(name_alone)], ...]


def center(height: int, width: int, down: int = 0) -> Frame:
    """Return the central `height` x `width` pixels of a 384 x 512 photo, moved down by `down`, as shares."""
    left, top = (PHOTO.width - width) // 2, (PHOTO.height - height) // 2 + down
    return left / PHOTO.width, top / PHOTO.height, (left + width) / PHOTO.width, (top + height) / PHOTO.height


def _frame(value: Any) -> Any:
    if isinstance(value, Mapping):
        height, width = value["center"]
        return center(height, width, value.get("down", 0))
    return {"face": None, "image": WHOLE}.get(value, value) if isinstance(value, str) else value


class Preset(Frozen):
    """What is cut from a photo (None: the face by the crop rule) and what happens to it in training.

    Where there are `photo_steps`, training applies them to the whole photo at the size PHOTO, before it is cut.
    """

    frame: Annotated[Frame | None, BeforeValidator(_frame)]
    steps: Steps = ()
    photo_steps: Steps = ()


@cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name."""
    file = Path(__file__).with_name("augmentation_presets.yaml")
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    return MappingProxyType(TypeAdapter(dict[str, Preset]).validate_python(entries))


_NOTHING = Preset(frame=None)


class FaceArguments(Frozen):
    """The arguments of the augmentation `face`.

    The cut of the crop rule is narrowed to a random rectangle: `scale` is its share of the cut's area, `aspect`
    a factor on its width to height ratio, and it lies anywhere inside the cut or up to `translate` cut sizes
    beyond it. It is mirrored with probability `flip`, rotated by up to `rotation` degrees, and distorted: 4 x 4 knots
    move by shares of its width and height that are normal with a deviation of up to `elastic`. Then brightness,
    contrast and saturation change by up to the given share, the hue by up to `hue` of the color circle, and with
    probability `erasing` a rectangle of 2 to 20 % of the picture is painted in the mean color.
    """

    scale: tuple[Area, Area] = (0.5, 1.0)
    aspect: tuple[Positive, Positive] = (0.8, 1.25)
    translate: Strength = 0.0
    flip: Share = 0.5
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    elastic: Annotated[float, Field(ge=0.0, le=0.2)] = 0.0
    brightness: Strength = 0.3
    contrast: Strength = 0.3
    saturation: Strength = 0.3
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    erasing: Share = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("scale", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be a range (low, high), got ({low}, {high})")
        return self


class AugmentationSpec(Frozen):
    """What happens to training pictures; validation and serving use none of it except the frame.

        augmentation: {arguments: {rotation: 10, erasing: 0}}
        augmentation: {name: Augmentation_384, arguments: {ShiftScaleRotate: {rotate: 15}, CLAHE: {p: 0.2}}}
        augmentation: {name: none, steps: [HorizontalFlip, {name: RandomErasing, arguments: {area: 0.05}}]}

    `name` is `face`, `none`, a preset of `augmentation_presets.yaml` or an import path `package.module:function`.
    `arguments` of `face` are those of FaceArguments; those of a preset replace the arguments, and the `p`, of its steps
    by name; those of an import path go to the function. `steps` come after those of the name. `frame` is what is cut
    from a photo, in training, validation and serving alike: what the preset was made for, the face by the crop rule,
    the whole image, or a fixed part of it (left, top, right, bottom as shares).
    """

    name: str = "face"
    arguments: FaceArguments | dict[str, Any] = Field(default={}, validate_default=True)
    steps: Steps = ()
    frame: Literal["preset", "face", "image"] | Frame = "preset"

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        if name not in NAMES and ":" not in name and name not in presets():
            raise ValueError(unknown_name("augmentation", name, NAMES))
        return name

    @field_validator("arguments", mode="plain")
    @classmethod
    def _typed_arguments(cls, value: Any, info: ValidationInfo) -> FaceArguments | dict[str, Any]:
        if info.data.get("name") == "face":
            return FaceArguments.model_validate(value)
        if not isinstance(value, Mapping):
            raise ValueError("must be a mapping")
        return dict(value)

    @property
    def preset(self) -> Preset:
        """What `name` cuts and applies; nothing for `face`, `none` and import paths."""
        return _NOTHING if self.name in NAMES else presets().get(self.name, _NOTHING)


def frame_of(spec: AugmentationSpec) -> Frame | None:
    """Return what is cut from a photo in training, validation and serving; None is the face by the crop rule."""
    if spec.frame == "preset":
        return spec.preset.frame
    return {"face": None, "image": WHOLE}[spec.frame] if isinstance(spec.frame, str) else spec.frame
