"""Learning-rate schedules: own ones as factors on the rate, the others are classes of torch; and early stopping."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch.optim import Optimizer, lr_scheduler

from components.shared.options import by_name, check_arguments, imported, parse_options
from components.train_classifier.config.objective import METRICS, SCHEDULERS, EarlyStoppingSpec, ScheduleSpec, Share
from components.train_classifier.optimization.optimizers import SharpnessAware
from serving.runtime.errors import InputError

Every = Literal["step", "epoch"]


def cosine_with_warmup(position: int, total: int, *, warmup: Share = 0.2) -> float:
    """Rise linearly over the share `warmup`, then fall to 1 % along half a cosine."""
    progress = (position + 0.5) / total
    if progress < warmup:
        return progress / warmup
    return 0.01 + 0.99 * _fall((progress - warmup) / (1 - warmup))


def cosine_cycle(position: int, total: int, *, warmup: Share = 0.2) -> float:
    """Rise from 1/25 over the share `warmup`, fall to 1/10,000, each along half a cosine (Smith and Topin, 2018).

    Unlike OneCycleLR it leaves the momentum alone and takes the value in the middle of each step.
    """
    progress = (position + 0.5) / total
    if progress < warmup:
        return 1 + (1 / 25 - 1) * _fall(progress / warmup)
    return 1e-4 + (1 - 1e-4) * _fall((progress - warmup) / (1 - warmup))


def _fall(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def warmup_cosine(position: int, total: int, *, warmup_ratio: Share = 0.1, min_ratio: Share = 0.05) -> float:
    """Rise linearly from `min_ratio` to 1, then half a cosine that reaches `min_ratio` at `total`.

    The rise takes the whole number of positions in `warmup_ratio * total`; where that is 0 the first position has
    the factor 1.
    """
    rising = math.floor(warmup_ratio * total + 1e-9)
    if position < rising:
        return min_ratio + (1 - min_ratio) * position / rising
    if position >= total:
        return min_ratio
    return min_ratio + (1 - min_ratio) * _fall((position - rising) / (total - rising))


def constant(position: int, total: int) -> float:
    """Stay at the learning rate."""
    return 1.0


_EVERY_STEP = (cosine_cycle, cosine_with_warmup, lr_scheduler.CyclicLR, lr_scheduler.OneCycleLR)
"""What changes the rate after every step by default; the others do so after every epoch."""


class Schedule:
    """Sets the learning rates of an optimizer after every step or epoch.

    It is made before the optimizer's state is loaded, and sets the rates of the first step.
    """

    def __init__(self, scheduler: Any, every: Every, monitor: str | None = None) -> None:
        """Step `scheduler` after each step or epoch, or with the score `monitor` of each epoch."""
        self.every = every
        self._scheduler = scheduler
        self._monitor = monitor

    def after_step(self) -> None:
        """Call this after every optimizer step."""
        if self.every == "step":
            self._scheduler.step()

    def after_epoch(self, scores: Mapping[str, float]) -> None:
        """Call this after every epoch with its validation scores; InputError when the monitored one is absent."""
        if self._monitor is not None:
            self._scheduler.step(monitored(scores, self._monitor, "scheduler 'ReduceLROnPlateau'"))
        elif self.every == "epoch":
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state; the rates are part of the optimizer's."""
        return {"scheduler": self._scheduler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; version 0.1.0 wrote that of our own schedules as their position alone."""
        state = state.get("scheduler", state)
        if state.keys() == {"position"}:
            state = self._scheduler.state_dict() | {"last_epoch": state["position"]}
        self._scheduler.load_state_dict(state)


def make_schedule(
    spec: ScheduleSpec, optimizer: Optimizer | SharpnessAware, *, epochs: int, steps_per_epoch: int
) -> Schedule:
    """Return the schedule and set the rates for the first step.

    Raises InputError for an unknown name, an argument that it does not have, does not accept or lacks.
    """
    base = optimizer.base if isinstance(optimizer, SharpnessAware) else optimizer
    entry = by_name("scheduler", spec.name, SCHEDULERS)
    every: Every = spec.every or ("step" if entry in _EVERY_STEP else "epoch")
    total = epochs * steps_per_epoch if every == "step" else epochs
    if not isinstance(entry, type):
        check_arguments(f"scheduler '{spec.name}'", entry, spec.arguments, reserved=("position", "total"))

        def factor(position: int) -> float:
            return float(entry(min(position, total - 1), total, **spec.arguments))

        try:
            return Schedule(lr_scheduler.LambdaLR(base, factor), every)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise InputError(f"scheduler '{spec.name}' with {spec.arguments}: {error}") from error
    if entry is not lr_scheduler.ReduceLROnPlateau:
        return Schedule(_torch_scheduler(entry, spec, base, total), every)
    if every == "step":
        raise InputError("scheduler 'ReduceLROnPlateau' monitors a score of each epoch: leave 'every' out")
    mode = "max" if METRICS[spec.monitor][1] else "min"
    if spec.arguments.get("mode", mode) != mode:
        raise InputError(
            f"scheduler 'ReduceLROnPlateau': the best '{spec.monitor}' is its {mode}imum, leave 'mode' out"
        )
    spec = spec.model_copy(update={"arguments": {**spec.arguments, "mode": mode}})
    return Schedule(_torch_scheduler(entry, spec, base, total), every, spec.monitor)


def _torch_scheduler(scheduler_class: Any, spec: ScheduleSpec, optimizer: Optimizer, total: int) -> Any:
    """Make a scheduler of torch; the length of the training and the learning rates are default arguments of some."""
    subject = f"scheduler '{spec.name}'"
    arguments = dict(spec.arguments)
    if scheduler_class is lr_scheduler.OneCycleLR:
        arguments = {
            "max_lr": [float(group["lr"]) for group in optimizer.param_groups],
            "total_steps": total,
            **arguments,
        }
    if scheduler_class is lr_scheduler.CosineAnnealingLR:
        arguments = {"T_max": total, **arguments}
    check_arguments(subject, scheduler_class, arguments, reserved=("optimizer", "last_epoch"))
    if "schedulers" in arguments:
        arguments["schedulers"] = _inner_schedulers(subject, arguments["schedulers"], optimizer, total)
    for name in ("lr_lambda", "scale_fn"):
        if isinstance(arguments.get(name), str):
            arguments[name] = imported(f"{name} of {subject}", arguments[name])
    try:
        return scheduler_class(optimizer=optimizer, **arguments)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{subject} with {spec.arguments}: {error}") from error


def _inner_schedulers(subject: str, entries: Any, optimizer: Optimizer, total: int) -> list[Any]:
    """Make the schedulers of which another one, such as SequentialLR, is composed."""
    if not isinstance(entries, list):
        raise InputError(f"{subject}: 'schedulers' is a list of mappings with 'name' and 'arguments', got {entries!r}")
    specs = [parse_options(ScheduleSpec, entry, f"a scheduler inside of {subject}") for entry in entries]
    classes = [by_name("scheduler", spec.name, SCHEDULERS) for spec in specs]
    for spec, entry in zip(specs, classes, strict=True):
        if not isinstance(entry, type) or entry is lr_scheduler.ReduceLROnPlateau:
            raise InputError(f"{subject} cannot contain '{spec.name}'; take other classes of torch.optim.lr_scheduler")
    return [_torch_scheduler(entry, spec, optimizer, total) for entry, spec in zip(classes, specs, strict=True)]


def monitored(scores: Mapping[str, float], monitor: str, subject: str) -> float:
    """Return the score called `monitor` of one epoch; InputError when that epoch was not validated."""
    key = METRICS[monitor][0]
    if key not in scores:
        names = ", ".join(sorted(scores)) or "none"
        raise InputError(f"{subject} watches '{monitor}' on the val split, but the epoch has the scores: {names}")
    return scores[key]


def best_epoch(history: Sequence[Mapping[str, float]], spec: EarlyStoppingSpec) -> int | None:
    """Return the index of the last epoch that improved the best score so far by more than `delta`, None without one.

    `history` has the validation scores of every epoch. The first score that is not NaN is an improvement, NaN never is.
    It depends on nothing else, so that a resumed training stops at the same epoch.
    """
    sign = 1.0 if METRICS[spec.monitor][1] else -1.0
    best = None
    bar = -math.inf
    for epoch, scores in enumerate(history):
        value = sign * monitored(scores, spec.monitor, "early_stopping")
        if value > bar + spec.delta if best is not None else not math.isnan(value):
            best, bar = epoch, value
    return best


def should_stop(history: Sequence[Mapping[str, float]], spec: EarlyStoppingSpec) -> bool:
    """Return whether the last `patience` epochs of `history` brought no improvement."""
    best = best_epoch(history, spec)
    return len(history) - (0 if best is None else best + 1) >= spec.patience
