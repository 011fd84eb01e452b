"""Which augmentation a training uses, as a user writes it. Imports no torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.shared.by_name import unknown_name
from serving.runtime.card import Frame

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, lt=1.0)]

AUGMENTATION_NAMES = (
    "Aug0",
    "AugForInception",
    "Augmentation_384",
    "Augmentation_384_384",
    "AutoAugmentation",
    "BaseAugmentation",
    "BaseAugmentation_512",
    "BestAugForAlbum",
    "CenterCropRotation",
    "CustomAlbumentationAug",
    "CustomAugmentation",
    "GoodAugmentation",
    "MyAugmentationBust",
    "MyAugmentationCenter",
    "face",
    "myAlbumentationAug",
    "none",
    "poster_v2_affectnet_7",
    "poster_v2_caer_s",
    "poster_v2_kfe_db",
    "poster_v2_raf_db",
)

STEP_NAMES = (
    "AutoAugment",
    "Blur",
    "CLAHE",
    "CoarseDropout",
    "ColorJitter",
    "GaussNoise",
    "GridDistortion",
    "HorizontalFlip",
    "HueSaturationValue",
    "MotionBlur",
    "NormalizedNoise",
    "OneOf",
    "OpticalDistortion",
    "Perspective",
    "RGBShift",
    "RandomBrightnessContrast",
    "RandomErasing",
    "RandomGamma",
    "Rotate",
    "ShiftScaleRotate",
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Augment(_Frozen):
    """What happens to a training picture; validation and serving see none of it.

    The cut of the crop rule is narrowed to a random rectangle: `scale` is its share of the cut's area, `aspect`
    a factor on its width to height ratio, and it lies anywhere inside the cut or up to `translate` cut sizes
    beyond it. It is mirrored with probability `flip`, turned by up to `rotation` degrees, and 4 x 4 places of it
    move by shares of its width and height that are normal with a deviation of up to `elastic`. Then come changes of
    brightness, contrast and saturation by up to the given share, of the hue by up to `hue` of the color
    circle, and with probability `erasing` a rectangle of 2 to 20 % of the picture is painted in the mean color.
    """

    scale: tuple[Annotated[float, Field(gt=0.0, le=2.0)], Annotated[float, Field(gt=0.0, le=2.0)]] = (0.5, 1.0)
    aspect: tuple[Annotated[float, Field(gt=0.0)], Annotated[float, Field(gt=0.0)]] = (0.8, 1.25)
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


class StepSpec(_Frozen):
    """One random change of a picture, made with probability `p`.

        {name: ShiftScaleRotate, p: 0.5, arguments: {rotate: 20, scale: [0, 0.2]}}
        {name: OneOf, p: 0.5, steps: [{name: Blur}, {name: MotionBlur}]}

    `arguments` are those of the function behind the name; a range may be a number n, short for [-n, n], where it lies
    around zero. OneOf makes exactly one of its `steps`; their `p` are then how likely each is beside the others.
    """

    name: str
    p: Share = 0.5
    arguments: dict[str, Any] = {}
    steps: tuple["StepSpec", ...] = ()

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.name not in STEP_NAMES:
            raise ValueError(unknown_name("augmentation step", self.name, STEP_NAMES, importable=False))
        if (self.name == "OneOf") != bool(self.steps):
            raise ValueError("OneOf needs steps, and no other step takes them")
        if self.steps and (self.arguments or not any(step.p > 0 for step in self.steps)):
            raise ValueError("OneOf takes no arguments, and the p of at least one of its steps must be above 0")
        return self


class AugmentationSpec(_Frozen):
    """What happens to training pictures; validation and serving see none of it except the framing.

        augmentation: {name: Augmentation_384, arguments: {ShiftScaleRotate: {rotate: 15}, CLAHE: {p: 0.2}}}
        augmentation: {name: none, steps: [{name: HorizontalFlip}, {name: RandomErasing, arguments: {area: 0.05}}]}

    `name` is one of AUGMENTATION_NAMES or an import path `package.module:function`. `arguments` are laid over the steps
    of that name in the preset; those of `face` are the fields of Augment, those of an import path go to the function.
    `steps` come after the preset's own. `frame` is what is cut from a photo, in training, validation and serving alike:
    what the preset was made for, the face by the crop rule, the whole image, or a fixed part of it (left, top, right,
    bottom as shares).
    """

    name: str = "face"
    arguments: dict[str, Any] = {}
    steps: tuple[StepSpec, ...] = ()
    frame: Literal["preset", "face", "image"] | Frame = "preset"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.name not in AUGMENTATION_NAMES and ":" not in self.name:
            raise ValueError(unknown_name("augmentation", self.name, AUGMENTATION_NAMES))
        return self
