"""Early stopping as a pure function of the history, so that a resumed training stops at the same epoch."""

import math
from collections.abc import Mapping, Sequence

from components.train_classifier.config.objective import METRICS, EarlyStoppingSpec
from serving.runtime.errors import InputError


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
