"""Learning-rate schedules by name: our own are pure functions of the step or epoch, the others are torch's."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from torch.optim import Optimizer, lr_scheduler

from components.shared.by_name import by_name, check_arguments
from components.shared.options import parse_options
from components.train_classifier.config.objective import METRICS, ScheduleSpec
from components.train_classifier.optimization.early_stopping import monitored
from components.train_classifier.optimization.sam import SharpnessAware
from serving.runtime.errors import InputError

Every = Literal["step", "epoch"]


def cosine(position: int, total: int, *, warmup: float = 0.2) -> float:
    """Rise in a straight line over the share `warmup`, then fall to 1 % along half a cosine."""
    progress = (position + 0.5) / total
    if progress < warmup:
        return progress / warmup
    return 0.01 + 0.99 * _fall((progress - warmup) / (1 - warmup))


def one_cycle(position: int, total: int, *, warmup: float = 0.2) -> float:
    """Rise from 1/25 over the share `warmup`, fall to 1/10,000, each along half a cosine (Smith and Topin, 2018)."""
    progress = (position + 0.5) / total
    if progress < warmup:
        return 1 + (1 / 25 - 1) * _fall(progress / warmup)
    return 1e-4 + (1 - 1e-4) * _fall((progress - warmup) / (1 - warmup))


def _fall(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def warmup_cosine(position: int, total: int, *, warmup_ratio: float = 0.1, min_ratio: float = 0.05) -> float:
    """Rise in a straight line from `min_ratio` to 1, then half a cosine that reaches `min_ratio` at `total`.

    The rise takes the whole number of positions in `warmup_ratio * total`; where that is 0 the first position has
    the factor 1.
    """
    rising = math.floor(warmup_ratio * total + 1e-9)
    if position < rising:
        return min_ratio + (1 - min_ratio) * position / rising
    if position >= total:
        return min_ratio
    return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * (position - rising) / (total - rising))) / 2


def constant(position: int, total: int) -> float:
    """Stay at the learning rate."""
    return 1.0


FACTORS: dict[str, tuple[Callable[..., float], Every]] = {
    "constant": (constant, "epoch"),
    "cosine": (cosine, "step"),
    "one_cycle": (one_cycle, "step"),
    "warmup_cosine": (warmup_cosine, "epoch"),
}
"""Name -> function from a position (0-based step or epoch) and their total to a factor on the rate; what it counts."""

TORCH_SCHEDULERS: dict[str, Any] = {
    name: value
    for name, value in vars(lr_scheduler).items()
    if isinstance(value, type)
    and issubclass(value, lr_scheduler.LRScheduler)
    and value is not lr_scheduler.LRScheduler
    and not name.startswith("_")
}
"""Name -> class of torch.optim.lr_scheduler."""

_EVERY_STEP = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)


class Schedule(Protocol):
    """Sets the rates of an optimizer's groups: at once for the first step, then whenever it is told of progress.

    `every` says what it counts. A schedule is made before the optimizer's state is loaded.
    """

    every: Every

    def after_step(self) -> None:
        """An optimizer step was taken."""

    def after_epoch(self, scores: Mapping[str, float]) -> None:
        """An epoch ended with these validation scores; there are none without a val split."""

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs in order to go on exactly: plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""


class FactorSchedule:
    """A pure function of the position; its state is the position."""

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float], total: int, every: Every) -> None:
        self.every: Every = every
        self._optimizer = optimizer
        self._factor = factor
        self._last = total - 1
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._move(0)

    def _move(self, position: int) -> None:
        self._position = position
        factor = self._factor(min(position, self._last))
        for group in self._optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def after_step(self) -> None:
        """Move on when steps count."""
        if self.every == "step":
            self._move(self._position + 1)

    def after_epoch(self, scores: Mapping[str, float]) -> None:
        """Move on when epochs count."""
        if self.every == "epoch":
            self._move(self._position + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the position."""
        return {"position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position."""
        self._move(state["position"])


class TorchSchedule:
    """A scheduler of torch. Its state is torch's, and the rates."""

    def __init__(self, optimizer: Optimizer, scheduler: Any, every: Every, monitor: str | None) -> None:
        self.every: Every = every
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._monitor = monitor

    def after_step(self) -> None:
        """Move on when steps count."""
        if self.every == "step":
            self._scheduler.step()

    def after_epoch(self, scores: Mapping[str, float]) -> None:
        """Move on when epochs count; InputError when the score that is watched is absent."""
        if self._monitor is not None:
            self._scheduler.step(monitored(scores, self._monitor, "scheduler 'ReduceLROnPlateau'"))
        elif self.every == "epoch":
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state and the rates."""
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        return {"scheduler": self._scheduler.state_dict(), "rates": rates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take both back."""
        self._scheduler.load_state_dict(state["scheduler"])
        for group, rate in zip(self._optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = rate


def make_schedule(
    spec: ScheduleSpec, optimizer: Optimizer | SharpnessAware, *, epochs: int, steps_per_epoch: int
) -> Schedule:
    """Return the schedule and set the rates for the first step.

    Raises InputError for an unknown name, an argument that it does not have, does not accept or lacks.
    """
    base = optimizer.base if isinstance(optimizer, SharpnessAware) else optimizer
    totals: dict[Every, int] = {"epoch": epochs, "step": epochs * steps_per_epoch}
    found = by_name("scheduler", spec.name, FACTORS | TORCH_SCHEDULERS)
    if isinstance(found, tuple):
        function, own = found
        check_arguments(f"scheduler '{spec.name}'", function, spec.arguments, given=("position", "total"))
        every = spec.every or own
        total = totals[every]
        return FactorSchedule(base, lambda position: function(position, total, **spec.arguments), total, every)
    every = spec.every or ("step" if found in _EVERY_STEP else "epoch")
    monitor = None
    if found is lr_scheduler.ReduceLROnPlateau:
        if every == "step":
            raise InputError("scheduler 'ReduceLROnPlateau' watches a score of each epoch: leave 'every' out")
        monitor = spec.monitor
        better = "max" if METRICS[monitor][1] else "min"
        if spec.arguments.get("mode", better) != better:
            raise InputError(
                f"scheduler 'ReduceLROnPlateau': the best '{monitor}' is its {better}imum, leave 'mode' out"
            )
        spec = spec.model_copy(update={"arguments": {**spec.arguments, "mode": better}})
    return TorchSchedule(base, _torch_scheduler(found, spec, base, totals[every]), every, monitor)


def _torch_scheduler(kind: Any, spec: ScheduleSpec, optimizer: Optimizer, total: int) -> Any:
    """Make a scheduler of torch, and those inside of it."""
    what = f"scheduler '{spec.name}'"
    arguments = _completed(kind, spec, optimizer, total)
    check_arguments(what, kind, arguments, given=("optimizer", "last_epoch"))
    if "schedulers" in arguments:
        arguments["schedulers"] = _members(what, arguments["schedulers"], optimizer, total)
    for name in ("lr_lambda", "scale_fn"):
        if isinstance(arguments.get(name), str):
            arguments[name] = by_name(f"{name} of {what}", arguments[name], {})
    try:
        return kind(optimizer=optimizer, **arguments)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{what} with {spec.arguments}: {error}") from error


def _completed(kind: Any, spec: ScheduleSpec, optimizer: Optimizer, total: int) -> dict[str, Any]:
    """Fill in the arguments that follow from the length of the training and the learning rates."""
    if kind is lr_scheduler.OneCycleLR:
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        return {"max_lr": rates, "total_steps": total, **spec.arguments}
    if kind is lr_scheduler.CosineAnnealingLR:
        return {"T_max": total, **spec.arguments}
    return dict(spec.arguments)


def _members(what: str, entries: Any, optimizer: Optimizer, total: int) -> list[Any]:
    """Make the schedulers that another one is made of."""
    if not isinstance(entries, list):
        raise InputError(f"{what}: 'schedulers' is a list of mappings with 'name' and 'arguments', got {entries!r}")
    made = []
    for entry in entries:
        spec = parse_options(ScheduleSpec, entry, f"a scheduler inside of {what}")
        kind = by_name("scheduler", spec.name, TORCH_SCHEDULERS)
        if kind is lr_scheduler.ReduceLROnPlateau:
            raise InputError(f"{what} cannot hold '{spec.name}': it would be told no score")
        made.append(_torch_scheduler(kind, spec, optimizer, total))
    return made
