"""Named augmentations: which part of a photo they cut, and their steps, read from `augmentation_presets.yaml`.

They reproduce earlier projects and papers. They end at the network's input size and leave the normalization to
the network. Imports no torch.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from components.shared.by_name import unknown_name
from components.train_classifier.config.objective import name_alone
from serving.runtime.card import WHOLE, Frame, InputSize
from serving.runtime.validation import Frozen

Share = Annotated[float, Field(ge=0.0, le=1.0)]

PHOTO = InputSize(height=512, width=384)
STEP_NAMES = (
    *("AutoAugment", "Blur", "CLAHE", "CoarseDropout", "ColorJitter", "GaussNoise", "GridDistortion", "HorizontalFlip"),
    *("HueSaturationValue", "MotionBlur", "NormalizedNoise", "OneOf", "OpticalDistortion", "Perspective", "RGBShift"),
    *("RandomBrightnessContrast", "RandomErasing", "RandomGamma", "Rotate", "ShiftScaleRotate"),
)


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
        if self.name not in STEP_NAMES:
            raise ValueError(unknown_name("augmentation step", self.name, STEP_NAMES, importable=False))
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
    file = Path(__file__).with_suffix(".yaml")
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    return MappingProxyType(TypeAdapter(dict[str, Preset]).validate_python(entries))
