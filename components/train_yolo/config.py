"""The configuration of a training with ultralytics: parameters, defaults, limits. Imports no torch, no ultralytics."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from components.shared.dataset.label_spaces import label_space
from components.shared.options import override, parse_options, whole_numbers
from components.train_yolo.settings import problem_with
from serving.runtime.card import CropRule, CropShape, InputSize
from serving.runtime.storage import is_s3
from serving.runtime.validation import MISSING, UNSET, Frozen, Problem, UnfitError, known

Task = Literal["detect", "classify"]

HEADS: dict[str, tuple[str, ...]] = {
    "detect": ("Detect", "v10Detect", "RTDETRDecoder"),
    "pose": ("Pose", "Pose26"),
    "classify": ("Classify",),
}
"""The last layers of the networks that can be served, by task."""

STARTS: dict[Task, tuple[str, ...]] = {"detect": ("detect", "pose"), "classify": ("classify",)}
"""What a network of a task can start from."""

_OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")
_STRIDE = 32
_OF_CLASSIFIERS = ("crop_scale", "min_decode", "crop_rule", "dropout")
_FIXED_BY_AUTO = ("lr", "momentum")

NOT_DOWNLOADED = "there is no such file; download_weights lets ultralytics download one that it publishes"
"""What is said of the plain name of a .pt that is not here."""

NMS_IOU = 0.45
"""Overlap of two boxes above which the lower scored one is dropped, by default.

ultralytics has 0.7, made for things that hide each other; faces seldom overlap. docs/yolo.md has what was measured.
"""

OF_NO_EFFECT = ("device", "conf", "plots", "state", "resume", "user", "trust_weights", "download_weights")
"""Entries without an effect on the weights."""

_MAY_CHANGE = ("epochs", "patience", "workers", *OF_NO_EFFECT)


def _optimizer(value: Any) -> Any:
    return {name.lower(): name for name in _OPTIMIZERS}.get(value.lower(), value) if isinstance(value, str) else value


def _known_optimizer(value: str) -> str:
    if value not in _OPTIMIZERS:
        raise ValueError(f"unknown optimizer{known(value, _OPTIMIZERS)}")
    return value


def _known_kind(value: str) -> str:
    if not value.lower().endswith((".yaml", ".yml", ".pt")):
        raise ValueError("expected a .yaml, such as yolo11n.yaml, for random weights, or a .pt to start from")
    return value


def _text_of_device(value: Any) -> Any:
    """A device is a text; a configuration may hold the number of a GPU, or a list of them."""
    value = whole_numbers(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(one, int) for one in value):
        return ",".join(map(str, value))
    return value


def _usable_device(value: str) -> str:
    text = re.sub(r"^cuda:|[\s()\[\]]", "", value)
    if not re.fullmatch(r"auto|cpu|cuda|\d+(,\d+)*", text):
        raise ValueError("expected auto, cpu, the number of a GPU, or several as '0,1'")
    return text


def _mode_alone(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class YoloConfig(Frozen):
    """The parameters of a training with ultralytics.

    What: `task` is detect, a detector of faces, or classify, a classifier of cut faces. `label_space` has one head:
    a classifier needs one; a detector without one has the one class `face`, else the classes of the label space.

    Start: `model` is a .yaml that ultralytics ships, such as yolo11n.yaml, or a file of your own, for random weights;
    or a .pt, a path or `s3://` address, to start from its weights. A .pt is a pickle: it is read with an allow-list of
    classes. `trust_weights` reads it without one, which runs what is in the file, and is needed for any .pt from
    `s3://`. `download_weights` lets ultralytics download what is not here, a .pt that it publishes; without it nothing
    is.

    Data: pictures are scaled to fit `imgsz` x `imgsz` pixels, a multiple of 32. A classifier sees faces that are cut
    as in serving, by `crop_scale`, `min_decode` and `crop_rule` (see `CropShape`).

    Optimization: `lr` is the learning rate at the start, `lrf` the share of it that is left at the end, along a line or
    a `cosine`. The optimizer auto chooses itself, its learning rate and momentum. `dropout` is before the last layer of
    a classifier. `patience` epochs without a better one end the training; 0 never does.

    The card of the exported detector gets `conf`, the lowest score of a face, `iou`, the overlap above which the lower
    scored of two boxes is dropped, and `max_det`.

    Every other key of ultralytics' training configuration can be named as well: hsv_h, mosaic, weight_decay, ...
    `cache` is one that changes the weights: pictures in memory are augmented in another order.

    Execution, without an effect on the weights: `device` is auto (a GPU where there is one), cpu, the number of a GPU,
    or several as "0,1". `state` is a folder or `s3://` prefix that keeps the finished epochs until the training is
    complete; `resume` are checkpoints of a training to continue, which need `trust_weights` where they are in `s3://`.
    Checkpoints of `state` and `resume` are read with the allow-list always. `user` is the user of the MLflow run.
    """

    model_config = ConfigDict(extra="allow")

    task: Task = "detect"
    label_space: Annotated[str, AfterValidator(lambda name: label_space(name).name if name else "")] = ""
    model: Annotated[str, AfterValidator(_known_kind)] = "yolo11n.yaml"
    epochs: int = Field(default=100, ge=1)
    batch: int = Field(default=16, ge=1)
    imgsz: int = Field(default=640, ge=32, le=4096, multiple_of=_STRIDE)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    device: Annotated[str, BeforeValidator(_text_of_device), AfterValidator(_usable_device)] = "auto"
    optimizer: Annotated[str, BeforeValidator(_optimizer), AfterValidator(_known_optimizer)] = "auto"
    lr: float | None = Field(default=None, gt=0.0, le=1.0)
    lrf: float = Field(default=0.01, ge=0.0, le=1.0)
    cosine: bool = False
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    conf: float = Field(default=0.25, ge=0.0, le=1.0)
    iou: float = Field(default=NMS_IOU, gt=0.0, le=1.0)
    max_det: int = Field(default=300, ge=1, le=10_000)
    patience: int = Field(default=100, ge=0)
    crop_scale: float = Field(default=1.3, ge=0.5, le=4.0)
    min_decode: float = Field(default=1.0, ge=1.0, le=8.0)
    crop_rule: Annotated[CropShape | None, BeforeValidator(_mode_alone)] = UNSET
    trust_weights: bool = False
    download_weights: bool = False
    state: str = ""
    resume: str = ""
    user: str = ""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        problems: list[tuple[str, str]] = []
        if self.label_space and len(label_space(self.label_space).heads) > 1:
            problems.append(("label_space", "has several heads; ultralytics trains one"))
        if self.task == "classify" and not self.label_space:
            problems.append(("label_space", "is missing; a classifier needs one, such as emotion"))
        if self.task == "detect":
            alien = [name for name in _OF_CLASSIFIERS if name in self.model_fields_set and getattr(self, name)]
            problems += [(name, "belongs to the task classify") for name in alien]
        if self.optimizer == "auto":
            named = [name for name in _FIXED_BY_AUTO if name in self.model_fields_set | self.settings.keys()]
            named = [name for name in named if getattr(self, name) is not None]
            problems += [(name, "the optimizer auto chooses its own; name an optimizer, such as SGD") for name in named]
        if is_s3(self.resume) and not self.trust_weights:
            message = (
                "holds pickles, which can run code when they are read; set trust_weights where you trust everybody who "
                "can write there, or name a local folder"
            )
            problems.append(("resume", message))
        if self.task == "classify" and isinstance(self.settings.get("scale"), list):
            problems.append(("scale", "expected a number for the task classify"))
        for name, value in self.settings.items():
            if problem := problem_with(name, value, type(self).model_fields):
                problems.append((name, problem))
        if problems:
            written = {**self.model_dump(), **self.settings}
            raise UnfitError(
                [
                    Problem((name,), MISSING if written[name] == "" else written[name], message)
                    for name, message in problems
                ]
            )
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of ultralytics that are none of the fields."""
        return whole_numbers(self.model_extra or {})  # type: ignore[no-any-return]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order; the one class of a detector without a label space is `face`."""
        return label_space(self.label_space).class_labels if self.label_space else ("face",)

    @property
    def input(self) -> InputSize:
        """The size of the network's input in pixels."""
        return InputSize(height=self.imgsz, width=self.imgsz)

    @property
    def crop(self) -> CropRule:
        """What a classifier's input shows of a photo, in training as in serving."""
        shape = {} if self.crop_rule is None else self.crop_rule.model_dump()
        return CropRule(scale=self.crop_scale, min_decode=self.min_decode, **shape)

    def digest(self, dataset_digest: str) -> str:
        """Return the sha256 of this configuration together with the data set's digest.

        What has no effect on the weights is left out.
        """
        content = self.model_dump(mode="json", exclude=set(OF_NO_EFFECT)) | {"dataset_digest": dataset_digest}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Return the entries in which the dumped configuration `other` belongs to another training.

        A training that is continued may have another length and run elsewhere. The optimizer auto is chosen by the
        length.
        """
        own = self.model_dump(mode="json")
        free = {*_MAY_CHANGE} - ({"epochs"} if self.optimizer == "auto" else set())
        return sorted(
            name for name in own.keys() | other.keys() if name not in free and own.get(name) != other.get(name)
        )


def resolve_config(training: Mapping[str, Any], /, **parameters: Any) -> YoloConfig:
    """Override the entries of `training` by `parameters` and validate the result.

    Raises InputError naming every wrong entry, its value and what was expected.
    """
    return parse_options(YoloConfig, override(training, parameters), "training config")
