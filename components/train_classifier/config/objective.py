"""Loss, optimizer, schedule, sampling and targets of a training, as a user writes them. Imports no torch.

The tables map each name to the import path of what it names, so that a client without torch knows the names. Instead
of a name an import path `package.module:name` may be written.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.options import name_alone, unknown_name, whole_numbers
from serving.runtime.card import Head
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen

_LOSSES = "components.train_classifier.objective"
_OPTIMIZERS = "components.train_classifier.optimization.optimizers"
_SCHEDULES = "components.train_classifier.optimization.schedules"

LOSSES = {name: f"{_LOSSES}:{name}" for name in ("bce", "cross_entropy", "f1", "focal", "label_smoothing")}

OPTIMIZERS = {
    **{name: f"torch.optim:{name}" for name in ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")},
    "SGDW": f"{_OPTIMIZERS}:SGDW",
}
CENTRALIZED = "_GC"
"""A suffix of optimizer names that turns gradient centralization on."""

_TORCH_SCHEDULERS = (
    *("CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "MultiStepLR", "OneCycleLR"),
    *("ReduceLROnPlateau", "StepLR"),
)
SCHEDULERS = {
    **{name: f"torch.optim.lr_scheduler:{name}" for name in _TORCH_SCHEDULERS},
    **{name: f"{_SCHEDULES}:{name}" for name in ("constant", "cosine_cycle", "cosine_with_warmup", "warmup_cosine")},
}

Metric = Literal["f1", "acc", "loss"]

METRICS: dict[str, tuple[str, bool]] = {"f1": ("f1", True), "acc": ("accuracy", True), "loss": ("loss", False)}
"""Name in a configuration -> (name among an epoch's validation scores, is higher better)."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _check_name(name: str, *, kind: str, table: Mapping[str, str], suffix: str = "") -> str:
    if name.removesuffix(suffix) not in table and ":" not in name:
        raise ValueError(unknown_name(kind, name, table))
    return name


def _check_space(name: str) -> str:
    label_space(name)
    return name


LossName = Annotated[str, AfterValidator(partial(_check_name, kind="loss", table=LOSSES))]
OptimizerName = Annotated[
    str, AfterValidator(partial(_check_name, kind="optimizer", table=OPTIMIZERS, suffix=CENTRALIZED))
]
SchedulerName = Annotated[str, AfterValidator(partial(_check_name, kind="scheduler", table=SCHEDULERS))]
Arguments = Annotated[dict[str, Any], AfterValidator(whole_numbers)]


class LossSpec(Frozen):
    """The loss of one head. A plain name is short for `{name: ...}`.

        loss: {name: focal, arguments: {gamma: 2}, class_weights: balanced}

    `name` is one of LOSSES or an import path of a function like those in `objective`. `weight` multiplies the
    head's loss in the sum over heads. `class_weights` is none, inverse (1/count, scaled to sum to 1), balanced
    (faces / (classes * count)) or one number per class.
    """

    name: LossName = "cross_entropy"
    arguments: Arguments = Field(default_factory=dict)
    weight: float = Field(default=1.0, ge=0.0)
    class_weights: Literal["none", "inverse", "balanced"] | tuple[Annotated[float, Field(ge=0.0)], ...] = "none"


Loss = Annotated[LossSpec, BeforeValidator(name_alone)]


class ObjectiveSpec(Frozen):
    """The losses of all heads: `loss`, and other ones for heads named in `heads`.

    The objective is the sum over the heads, each times its `weight`.

        objective:
          loss: focal
          heads:
            gender: {name: bce, weight: 0.5}
    """

    loss: Loss = LossSpec()
    heads: dict[str, Loss] = Field(default_factory=dict)


def check_objective(spec: ObjectiveSpec, heads: Sequence[Head]) -> None:
    """Raise InputError for a loss of an unknown head, and for a loss or class weights of another number of labels."""
    for name in spec.heads:
        if name not in (names := [head.name for head in heads]):
            raise InputError(unknown_name("head", name, names, importable=False))
    for head in heads:
        loss, count = spec.heads.get(head.name, spec.loss), len(head.labels)
        if loss.name == "bce" and count != 2:
            raise InputError(f"loss 'bce' is for heads with 2 labels, '{head.name}' has {count}; take cross_entropy")
        weights = loss.class_weights
        if not isinstance(weights, str) and (len(weights) != count or not any(weights)):
            raise InputError(
                f"class_weights of head '{head.name}': expected {count} numbers, not all 0, one for each of "
                f"{', '.join(head.labels)}; got {list(weights)}"
            )


class GroupSpec(Frozen):
    """Learning rate and weight decay of one part of the network; by default those of the training."""

    learning_rate: float | None = Field(default=None, gt=0.0)
    weight_decay: float | None = Field(default=None, ge=0.0)


class SamSpec(Frozen):
    """Sharpness-aware minimization. `rho` is the radius of the perturbation; `adaptive` scales it by each weight."""

    rho: float = Field(default=0.05, gt=0.0)
    adaptive: bool = False


class OptimizerSpec(Frozen):
    """The optimizer, apart from the learning rate and the weight decay, which are settings of their own.

        optimizer:
          name: SGD
          arguments: {momentum: 0.9, nesterov: true}
          groups:
            backbone: {learning_rate: 0.0001}
            backbone.layer4: {learning_rate: 0.0005}
          sam: {rho: 0.05}

    `name` is one of OPTIMIZERS, one of these with the suffix `_GC` (short for `gradient_centralization`), or the import
    path of an optimizer class, such as torch.optim:Adamax. A key of `groups` is a prefix of parameter names, in whole
    parts between dots; the longest match applies. Biases and the weights of normalization layers do not decay unless
    `decay_all`.
    """

    name: OptimizerName = "AdamW"
    arguments: Arguments = Field(default_factory=dict)
    gradient_centralization: bool = False
    decay_all: bool = False
    groups: dict[str, GroupSpec] = Field(default_factory=dict)
    sam: SamSpec | None = None


class ScheduleSpec(Frozen):
    """The learning-rate schedule.

        scheduler: {name: warmup_cosine, arguments: {warmup_ratio: 0.1, min_ratio: 0.05}}
        scheduler: {name: ReduceLROnPlateau, monitor: loss, arguments: {factor: 0.5, patience: 10, min_lr: 0.0001}}
        scheduler:
          name: torch.optim.lr_scheduler:SequentialLR
          arguments:
            schedulers: [{name: StepLR, arguments: {step_size: 3}}, {name: ExponentialLR, arguments: {gamma: 0.9}}]
            milestones: [3]

    `name` is one of SCHEDULERS, or the import path of a scheduler class of torch or of a function like those in
    `schedules`. Functions among the arguments are import paths. `every` overrides whether the rate changes after every
    step or every epoch. `monitor` is the validation score that ReduceLROnPlateau watches.
    """

    name: SchedulerName = "cosine_cycle"
    arguments: Arguments = Field(default_factory=dict)
    every: Literal["step", "epoch"] | None = None
    monitor: Metric = "loss"


class SamplingSpec(Frozen):
    """Which faces are in an epoch; an epoch always has as many draws as there are faces.

        sampling: {name: inverse_frequency, by: age}

    shuffle: every face once. inverse_frequency: draws with replacement, all classes equally likely.
    class_balanced: equally many draws of every class, its faces in turn. `by` is the label space that
    defines the classes, by default the one that is trained.
    """

    name: Literal["shuffle", "inverse_frequency", "class_balanced"] = "shuffle"
    by: Annotated[str, AfterValidator(_check_space)] | None = None


class MixingSpec(Frozen):
    """Mixing of pictures and targets within a batch.

        mixing: {name: band, probability: 0.3, ratio: [beta, 5, 5]}

    `name` is none, mixup, cutmix or band (a full-height band at the left or right side comes from the partner).
    `probability` is the share of batches that are mixed. `ratio` is the distribution of the partner's share:
    [uniform, low, high] or [beta, a, b]; by default beta 0.2 for mixup, beta 1 for cutmix, uniform 0.4-0.6 for band.
    """

    name: Literal["none", "mixup", "cutmix", "band"] = "none"
    probability: Share = 0.5
    ratio: tuple[Literal["uniform", "beta"], float, float] | None = None

    @model_validator(mode="after")
    def _possible_ratio(self) -> Self:
        if self.ratio is not None:
            kind, first, second = self.ratio
            if kind == "uniform" and not 0 <= first <= second <= 1:
                raise ValueError(f"ratio uniform needs 0 <= low <= high <= 1, got {first} and {second}")
            if kind == "beta" and not (first > 0 and second > 0):
                raise ValueError(f"ratio beta needs two positive numbers, got {first} and {second}")
        return self

    @property
    def distribution(self) -> tuple[str, float, float]:
        """The distribution of the partner's share."""
        defaults = {"mixup": ("beta", 0.2, 0.2), "cutmix": ("beta", 1.0, 1.0), "band": ("uniform", 0.4, 0.6)}
        return self.ratio if self.ratio is not None else defaults[self.name]


class SoftTargetSpec(Frozen):
    """Soft targets instead of one-hot labels.

        soft_targets:
          certainty: {gender: 0.95}
          uncertain: {gender: ambiguous_gender}

    `certainty` gives an attribute's label this probability and shares the rest among its other labels. `uncertain`
    names a table of persons whose attribute is ambiguous: all its labels are equally likely. A table is one that ships
    (ambiguous_gender), or a path or `s3://` address of a CSV file with a column `person`.
    """

    certainty: dict[str, Annotated[float, Field(gt=0.0, le=1.0)]] = Field(default_factory=dict)
    uncertain: dict[str, str] = Field(default_factory=dict)

    def check_attributes(self, space: LabelSpace) -> None:
        """Raise InputError for an attribute that `space` is not made of."""
        for field, entries in (("certainty", self.certainty), ("uncertain", self.uncertain)):
            for attribute in entries:
                if attribute not in space.attributes:
                    raise InputError(
                        f"soft_targets: '{field}' names the attribute '{attribute}', but label space '{space.name}' "
                        f"is made of: {', '.join(space.attributes)}"
                    )


class PseudoLabelSpec(Frozen):
    """Training on unlabeled faces with the labels that the network gives them (Lee, 2013). Off by default.

        pseudo_labels: {enabled: true, share: 0.5}
        pseudo_labels: {enabled: true, start: 0, end: 0, weight: 1.0}

    `share` of each batch is unlabeled. Their loss has weight 0 until the counter is `start` and rises linearly to
    `weight` at `end`; the counter grows by 1 every `every` batches. The second line is a second stage with the full
    weight from the beginning.
    """

    enabled: bool = False
    share: float = Field(default=0.5, gt=0.0, lt=1.0)
    every: int = Field(default=50, ge=1)
    start: int = Field(default=50, ge=0)
    end: int = Field(default=100, ge=0)
    weight: float = Field(default=0.8, ge=0.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end must not be before start, got {self.start} and {self.end}")
        return self


class EarlyStoppingSpec(Frozen):
    """Ends a training after `patience` epochs in a row that do not improve the best score by more than `delta`.

    NaN is never an improvement.

        early_stopping: {patience: 7, monitor: f1}
    """

    patience: int = Field(default=5, ge=1)
    delta: float = Field(default=0.0, ge=0.0)
    monitor: Metric = "loss"
