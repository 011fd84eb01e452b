"""What a training minimizes and how, as a user writes it. Imports no torch.

Names that are not in the lists below may be import paths `package.module:name` where the text says so.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from components.shared.by_name import unknown_name
from components.shared.options import whole_numbers

Share = Annotated[float, Field(ge=0.0, le=1.0)]

LOSS_NAMES = ("bce", "cross_entropy", "f1", "focal", "label_smoothing")
OPTIMIZER_NAMES = (
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam", "RMSprop"),
    *("Rprop", "SGD", "SGDW"),
)
SCHEDULER_NAMES = (
    *("ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR"),
    *("ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR"),
    *("ReduceLROnPlateau", "SequentialLR", "StepLR", "constant", "cosine", "one_cycle", "warmup_cosine"),
)

_REFUSED_WITH_REASON = ("LBFGS", "SparseAdam")  # where optimizers are made

Metric = Literal["f1", "acc", "loss"]

METRICS: dict[str, tuple[str, bool]] = {"f1": ("f1", True), "acc": ("accuracy", True), "loss": ("loss", False)}
"""Name in a configuration -> (name among an epoch's validation scores, is higher better)."""


def name_alone(value: Any) -> Any:
    """Turn a plain name into the mapping that it is short for."""
    return {"name": value} if isinstance(value, str) else value


def _known_loss(name: str) -> str:
    if name not in LOSS_NAMES and ":" not in name:
        raise ValueError(unknown_name("loss", name, LOSS_NAMES))
    return name


def _known_optimizer(name: str) -> str:
    if name.removesuffix("_GC") not in OPTIMIZER_NAMES and ":" not in name and name not in _REFUSED_WITH_REASON:
        raise ValueError(unknown_name("optimizer", name, OPTIMIZER_NAMES))
    return name


def _known_scheduler(name: str) -> str:
    if name not in SCHEDULER_NAMES and ":" not in name:
        raise ValueError(unknown_name("scheduler", name, SCHEDULER_NAMES))
    return name


Arguments = Annotated[dict[str, Any], AfterValidator(whole_numbers)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LossSpec(_Frozen):
    """The loss of one head. A plain name is short for `{name: ...}`.

        loss: {name: focal, arguments: {gamma: 2}, class_weights: balanced}

    `name` is one of LOSS_NAMES or an import path of a function like those in `losses`. `weight` multiplies the
    head's loss in the sum over heads. `class_weights` is none, inverse (1/count, scaled to sum to 1), balanced
    (faces / (classes * count)) or one number per class.
    """

    name: Annotated[str, AfterValidator(_known_loss)] = "cross_entropy"
    arguments: Arguments = {}
    weight: float = Field(default=1.0, ge=0.0)
    class_weights: Literal["none", "inverse", "balanced"] | tuple[Annotated[float, Field(ge=0.0)], ...] = "none"


Loss = Annotated[LossSpec, BeforeValidator(name_alone)]


class ObjectiveSpec(_Frozen):
    """The losses of all heads: `loss`, and other ones for heads named in `heads`.

    The objective is the sum over the heads, each times its `weight`.

        objective:
          loss: focal
          heads:
            gender: {name: bce, weight: 0.5}
    """

    loss: Loss = LossSpec()
    heads: dict[str, Loss] = {}


class GroupSpec(_Frozen):
    """What parameters of one part of the network do differently; what is absent is as for all the others."""

    learning_rate: float | None = Field(default=None, gt=0.0)
    weight_decay: float | None = Field(default=None, ge=0.0)


class SamSpec(_Frozen):
    """Sharpness-aware minimization. `rho` is the radius of the climb; `adaptive` scales it by each weight's size."""

    rho: float = Field(default=0.05, gt=0.0)
    adaptive: bool = False


class OptimizerSpec(_Frozen):
    """The optimizer, apart from the learning rate and the weight decay, which are settings of their own.

        optimizer:
          name: SGD
          arguments: {momentum: 0.9, nesterov: true}
          groups:
            backbone: {learning_rate: 0.0001}
            backbone.layer4: {learning_rate: 0.0005}
          sam: {rho: 0.05}

    `name` is a class of torch.optim, SGDW, one of these with `_GC` behind it (short for `gradient_centralization`),
    or an import path of an optimizer class. A key of `groups` is a prefix of parameter names, in whole parts between
    dots; the longest that fits counts. Biases and the weights of normalization layers do not decay unless `decay_all`.
    """

    name: Annotated[str, AfterValidator(_known_optimizer)] = "AdamW"
    arguments: Arguments = {}
    gradient_centralization: bool = False
    decay_all: bool = False
    groups: dict[str, GroupSpec] = {}
    sam: SamSpec | None = None


class ScheduleSpec(_Frozen):
    """The course of the learning rate.

        scheduler: {name: warmup_cosine, arguments: {warmup_ratio: 0.1, min_ratio: 0.05}}
        scheduler: {name: ReduceLROnPlateau, monitor: loss, arguments: {factor: 0.5, patience: 10, min_lr: 0.0001}}
        scheduler:
          name: SequentialLR
          arguments:
            schedulers: [{name: LinearLR, arguments: {total_iters: 3}}, {name: ExponentialLR, arguments: {gamma: 0.9}}]
            milestones: [3]

    `name` is cosine, one_cycle, warmup_cosine, constant, a class of torch.optim.lr_scheduler, or an import path of
    such a class. Functions among the arguments are import paths. `every` overrides whether the rate changes after
    every step or every epoch. `monitor` is what ReduceLROnPlateau watches on the validation split.
    """

    name: Annotated[str, AfterValidator(_known_scheduler)] = "one_cycle"
    arguments: Arguments = {}
    every: Literal["step", "epoch"] | None = None
    monitor: Metric = "loss"


class SamplingSpec(_Frozen):
    """Which faces an epoch sees; it always has as many draws as there are faces.

        sampling: {name: inverse_frequency, by: age}

    shuffle: every face once. inverse_frequency: draws with replacement, all classes equally likely.
    class_balanced: equally many draws of every class, its faces in turn. `by` is the label space whose classes are
    meant, by default the one that is trained.
    """

    name: Literal["shuffle", "inverse_frequency", "class_balanced"] = "shuffle"
    by: str | None = None


class MixingSpec(_Frozen):
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


class SoftTargetSpec(_Frozen):
    """How sure a training is of the labels.

        soft_targets:
          certainty: {gender: 0.95}
          uncertain: {gender: ambiguous_gender}

    `certainty` gives an attribute's stated label this probability and shares the rest among its other labels.
    `uncertain` names a table of persons whose attribute nobody can tell: all its labels are equally likely. A table
    is one that ships (ambiguous_gender), or a path or `s3://` address of a CSV file with a column `person`.
    """

    certainty: dict[str, Annotated[float, Field(gt=0.0, le=1.0)]] = {}
    uncertain: dict[str, str] = {}


class PseudoLabelSpec(_Frozen):
    """Training on unlabeled faces with the labels that the network gives them (Lee, 2013). Off by default.

        pseudo_labels: {enabled: true, share: 0.5}
        pseudo_labels: {enabled: true, start: 0, end: 0, weight: 1.0}

    `share` of each batch is unlabeled. Their loss has weight 0 until the counter is `start` and rises in a straight
    line to `weight` at `end`; the counter grows by 1 every `every` batches. The second line is a second stage with the
    full weight from the beginning.
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


class EarlyStoppingSpec(_Frozen):
    """Ends a training after `patience` epochs in a row that do not better the best score by more than `delta`.

    A score that is no number betters nothing.

        early_stopping: {patience: 7, monitor: f1}
    """

    patience: int = Field(default=5, ge=1)
    delta: float = Field(default=0.0, ge=0.0)
    monitor: Metric = "loss"
