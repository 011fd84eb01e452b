"""The configuration of a classifier training: every knob, its default and its limits. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.shared.dataset.label_spaces import AGE_THRESHOLDS, label_space
from components.shared.models.classifiers import check_classifier
from serving.runtime.card import CropRule, InputSize, Normalization
from serving.runtime.errors import InputError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Augment(_Frozen):
    """What happens to a training picture; validation and serving see none of it.

    The cut of the crop rule is narrowed to a random rectangle: `scale` is its share of the cut's area, `aspect`
    a factor on its width to height ratio, and it lies anywhere inside the cut or up to `translate` cut sizes
    beyond it. Then come a mirror with probability `flip`, a turn of up to `rotation` degrees, changes of
    brightness, contrast and saturation by up to the given share, of the hue by up to `hue` of the colour
    circle, and with probability `erasing` a rectangle of 2 to 20 % of the picture is painted in the mean colour.
    """

    scale: tuple[Annotated[float, Field(gt=0.0, le=2.0)], Annotated[float, Field(gt=0.0, le=2.0)]] = (0.5, 1.0)
    aspect: tuple[Annotated[float, Field(gt=0.0)], Annotated[float, Field(gt=0.0)]] = (0.8, 1.25)
    translate: Strength = 0.0
    flip: Share = 0.5
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
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


class TrainConfig(_Frozen):
    """Everything that decides what a training learns.

    `warmup` is the share of all steps in which the learning rate rises. `ema_decay` 0 turns the moving average
    of the weights off. `criterion` chooses the best epoch on the validation split: highest macro F1 (`f1`),
    highest accuracy (`acc`) or lowest loss (`loss`); ties go to the lower loss. `workers` is the number of
    processes that read pictures, by default as many as there are CPUs, at most 8; it changes no result.
    `log_interval` counts training steps. `normalization` defaults to the ImageNet figures. `age_thresholds` are the
    bounds of the age classes in training targets; validation and every metric keep the official 30 and 60.
    """

    label_space: Annotated[str, AfterValidator(lambda name: label_space(name).name)]
    model: Annotated[str, AfterValidator(check_classifier)] = "resnet18"
    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    scheduler: Literal["cosine", "one_cycle"] = "one_cycle"
    warmup: Share = 0.2
    label_smoothing: Strength = 0.1
    ema_decay: Strength = 0.99
    criterion: Literal["f1", "acc", "loss"] = "f1"
    image_height: int = Field(default=128, ge=8, le=4096)
    image_width: int = Field(default=96, ge=8, le=4096)
    crop_scale: float = Field(default=1.3, ge=1.0, le=4.0)
    min_decode: float = Field(default=1.0, ge=1.0, le=8.0)
    augment: Augment = Augment()
    age_thresholds: tuple[int, int] = AGE_THRESHOLDS
    normalization: Normalization = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    seed: int = Field(default=0, ge=0)
    workers: int | None = Field(default=None, ge=0)
    log_interval: int = Field(default=20, ge=1)

    @field_validator("age_thresholds")
    @classmethod
    def _usable_thresholds(cls, value: tuple[int, int]) -> tuple[int, int]:
        return label_space("age", value).age_thresholds

    @property
    def input(self) -> InputSize:
        """The size of the network's input in pixels."""
        return InputSize(height=self.image_height, width=self.image_width)

    @property
    def crop(self) -> CropRule:
        """What is cut around a face, in training as in serving."""
        return CropRule(scale=self.crop_scale, min_decode=self.min_decode)

    def digest(self, dataset_digest: str) -> str:
        """Return the sha256 of this configuration together with the data set's digest.

        `workers` and `log_interval` are left out, since they change no weight.
        """
        facts = self.model_dump(mode="json", exclude={"workers", "log_interval"}) | {"dataset_digest": dataset_digest}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def resolve_config(config: Mapping[str, Any], **parameters: Any) -> TrainConfig:
    """Lay `parameters` over the entries of `config` and validate the whole.

    Raises InputError naming every wrong entry, its value and what was expected.
    """
    try:
        return TrainConfig.model_validate({**config, **parameters})
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            path = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"]
            if problem["type"] == "extra_forbidden":
                message = f"unknown option; known: {', '.join(_known(problem['loc'][:-1]))}"
            lines.append(f"{path} = {problem['input']!r}: {message}")
        raise InputError("training config: " + "; ".join(lines)) from error


def _known(path: tuple[int | str, ...]) -> list[str]:
    model: Any = TrainConfig
    for part in path:
        model = model.model_fields[part].annotation
    return sorted(model.model_fields)
