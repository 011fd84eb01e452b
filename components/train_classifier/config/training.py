"""The configuration of a classifier training: parameters, defaults and limits. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_serializer, field_validator

from components.shared.dataset.label_spaces import AGE_THRESHOLDS, label_space
from components.shared.models.spec import ModelSpec, check_input, check_model, head_specs, resolve_model
from components.shared.options import name_alone, override, parse_options
from components.shared.training.train_job_config import TrainJobSpec
from components.train_classifier.config.augmentation import AugmentationSpec, frame_of
from components.train_classifier.config.objective import (
    EarlyStoppingSpec,
    LossSpec,
    Metric,
    MixingSpec,
    ObjectiveSpec,
    OptimizerSpec,
    PseudoLabelSpec,
    SamplingSpec,
    ScheduleSpec,
    SoftTargetSpec,
    check_objective,
)
from serving.runtime.card import CropRule, CropShape, InputSize, Normalization
from serving.runtime.validation import UNSET, Frozen

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_NORMALIZATIONS = {"imagenet": IMAGENET, "computed": None}


def _named_normalization(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _NORMALIZATIONS:
            raise ValueError(f"must be {', '.join(_NORMALIZATIONS)}, or values as {{mean: [...], std: [...]}}")
        return _NORMALIZATIONS[value]
    return value


def _mode_alone(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


OF_NO_EFFECT = (
    *("validation_batch_size", "workers", "log_interval", "device", "state", "resume", "user", "train_job"),
    "keep_checkpoints",
)
"""Entries without an effect on the weights."""

_MAY_CHANGE = ("epochs", "early_stopping", *OF_NO_EFFECT)


class TrainConfig(Frozen):
    """The parameters of a training.

    Data: `sampling`, `mixing`, `soft_targets` and `pseudo_labels` define the faces of an epoch and their targets;
    `augmentation`, `crop_scale`, `crop_rule` (see `CropShape`), `min_decode` and the image size make the pictures.
    `normalization` are mean and standard deviation, or imagenet, or computed from the training faces, which is None
    here. `age_thresholds` are the bounds of the age classes in training targets; validation and every metric keep the
    official 30 and 60.

    Network: `model`, overridden by the entries of `network`.

    Optimization: `objective` (the losses), `optimizer` and `scheduler`, with the peak `learning_rate` and the
    `weight_decay`. `batch_size` faces make a step; they go through the network in `accumulate` parts, which saves
    memory and changes only batch norm and which of several members sees a face. `clip_norm` bounds the norm of a step's
    gradient. `amp` computes in bfloat16 or float16 where that is safe. `ema_decay` 0 turns the moving average of the
    weights off.

    Length: `epochs`, or fewer by `early_stopping`. `criterion` chooses the best epoch on the validation split: highest
    macro F1 (`f1`), highest accuracy (`acc`) or lowest loss (`loss`); ties go to the lower loss.

    Execution, without an effect on the weights: `device` is auto (a GPU where there is one), cpu, cuda or cuda:N.
    `workers` is the number of processes that read pictures, by default as many as there are CPUs, at most 8.
    `validation_batch_size` faces are validated at once, by default `batch_size`. `log_interval` counts training steps.
    `state` is a folder or `s3://` prefix that keeps the finished epochs of a training until it is complete; `resume`
    are checkpoints of a training to continue, a folder or `s3://` prefix.
    `user` is the user of the MLflow run. `keep_checkpoints` are those that a complete training leaves: all, or
    best.pt with or without last.pt, from which it can be continued. `train_job` spreads the training over several nodes
    of a cluster.
    """

    label_space: Annotated[str, AfterValidator(lambda name: label_space(name).name)]
    model: Annotated[str, AfterValidator(check_model)] = "resnet18"
    network: dict[str, Any] = Field(default_factory=dict)
    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=2)
    validation_batch_size: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    clip_norm: float | None = Field(default=None, gt=0.0)
    objective: ObjectiveSpec = ObjectiveSpec(loss=LossSpec(arguments={"label_smoothing": 0.1}))
    optimizer: Annotated[OptimizerSpec, BeforeValidator(name_alone)] = OptimizerSpec()
    scheduler: Annotated[ScheduleSpec, BeforeValidator(name_alone)] = ScheduleSpec()
    sampling: Annotated[SamplingSpec, BeforeValidator(name_alone)] = SamplingSpec()
    mixing: Annotated[MixingSpec, BeforeValidator(name_alone)] = MixingSpec()
    soft_targets: SoftTargetSpec = SoftTargetSpec()
    pseudo_labels: PseudoLabelSpec = PseudoLabelSpec()
    early_stopping: EarlyStoppingSpec | None = None
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    criterion: Metric = "f1"
    amp: Literal["none", "bf16", "fp16"] = "none"
    channels_last: bool = True
    compile: bool = False
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    image_height: int = Field(default=128, ge=8, le=4096)
    image_width: int = Field(default=96, ge=8, le=4096)
    crop_scale: float = Field(default=1.3, ge=0.5, le=4.0)
    min_decode: float = Field(default=1.0, ge=1.0, le=8.0)
    augmentation: Annotated[AugmentationSpec, BeforeValidator(name_alone)] = AugmentationSpec()
    crop_rule: Annotated[CropShape | None, BeforeValidator(_mode_alone)] = UNSET
    age_thresholds: tuple[int, int] = AGE_THRESHOLDS
    normalization: Annotated[Normalization | None, BeforeValidator(_named_normalization)] = IMAGENET
    seed: int = Field(default=0, ge=0)
    workers: int | None = Field(default=None, ge=0)
    log_interval: int = Field(default=20, ge=1)
    state: str = ""
    resume: str = ""
    user: str = ""
    keep_checkpoints: Literal["all", "best_and_last", "best"] = "all"
    train_job: TrainJobSpec | None = None

    @field_validator("age_thresholds")
    @classmethod
    def _usable_thresholds(cls, value: tuple[int, int]) -> tuple[int, int]:
        return label_space("age", value).age_thresholds

    @field_validator("network")
    @classmethod
    def _fitting_network(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "model" in info.data:
            spec = resolve_model(info.data["model"], value)
            if "label_space" in info.data:
                head_specs(spec, label_space(info.data["label_space"]).heads)
        return value

    @field_validator("objective")
    @classmethod
    def _fitting_objective(cls, value: ObjectiveSpec, info: ValidationInfo) -> ObjectiveSpec:
        if "label_space" in info.data:
            check_objective(value, label_space(info.data["label_space"]).heads)
        return value

    @field_validator("soft_targets")
    @classmethod
    def _fitting_targets(cls, value: SoftTargetSpec, info: ValidationInfo) -> SoftTargetSpec:
        if "label_space" in info.data:
            value.check_attributes(label_space(info.data["label_space"]))
        return value

    @field_validator("image_width")
    @classmethod
    def _usable_size(cls, value: int, info: ValidationInfo) -> int:
        if {"model", "network", "image_height"} <= info.data.keys():
            spec = resolve_model(info.data["model"], info.data["network"])
            check_input(spec.backbone, spec.arguments, InputSize(height=info.data["image_height"], width=value))
        return value

    @field_validator("crop_rule")
    @classmethod
    def _fitting_crop_rule(cls, value: CropShape | None, info: ValidationInfo) -> CropShape | None:
        frame = frame_of(info.data["augmentation"]) if "augmentation" in info.data else None
        if value is not None and frame is not None:
            name = info.data["augmentation"].name
            raise ValueError(
                f"augmentation '{name}' cuts the frame {frame} wherever the face is; leave crop_rule out, or set "
                "augmentation.frame to face"
            )
        return value

    @field_serializer("normalization")
    def _written_normalization(self, value: Normalization | None) -> Any:
        return "computed" if value is None else value.model_dump(mode="json")

    @property
    def spec(self) -> ModelSpec:
        """The specification of the network."""
        return resolve_model(self.model, self.network)

    @property
    def input(self) -> InputSize:
        """The size of the network's input in pixels."""
        return InputSize(height=self.image_height, width=self.image_width)

    @property
    def crop(self) -> CropRule:
        """What is cut from a photo, in training as in serving."""
        shape = {} if self.crop_rule is None else self.crop_rule.model_dump()
        return CropRule(scale=self.crop_scale, min_decode=self.min_decode, frame=frame_of(self.augmentation), **shape)

    def digest(self, dataset_digest: str) -> str:
        """Return the sha256 of this configuration together with the data set's digest.

        What has no effect on the weights is left out.
        """
        content = self.model_dump(mode="json", exclude=set(OF_NO_EFFECT)) | {"dataset_digest": dataset_digest}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Return the entries in which the dumped configuration `other` belongs to another training.

        A training that is continued may have another length and run elsewhere.
        """
        own = self.model_dump(mode="json")
        return sorted(
            name for name in own.keys() | other.keys() if name not in _MAY_CHANGE and own.get(name) != other.get(name)
        )


def resolve_config(training: Mapping[str, Any], changes: Mapping[str, Any] = {}, /, **parameters: Any) -> TrainConfig:
    """Override the entries of `training` by `parameters`, then by `changes` by dotted path, and validate the result.

    Raises InputError naming every wrong entry, its value and what was expected.
    """
    return parse_options(TrainConfig, override({**training, **parameters}, changes), "training config")
