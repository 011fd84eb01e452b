"""Learning-rate schedules as pure functions of the step."""

import math


def cosine(progress: float, warmup: float) -> float:
    """Rise in a straight line over the share `warmup`, then fall to 1 % along half a cosine."""
    if progress < warmup:
        return progress / warmup
    return 0.01 + 0.99 * _fall((progress - warmup) / (1 - warmup))


def one_cycle(progress: float, warmup: float) -> float:
    """Rise from 1/25 and fall to 1/10,000 of the peak, each along half a cosine (Smith and Topin, 2018)."""
    if progress < warmup:
        return 1 + (1 / 25 - 1) * _fall(progress / warmup)
    return 1e-4 + (1 - 1e-4) * _fall((progress - warmup) / (1 - warmup))


def _fall(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


SCHEDULES = {"cosine": cosine, "one_cycle": one_cycle}
"""Name -> function from progress (0..1) and the share that rises to a factor on the learning rate."""


def learning_rate(name: str, step: int, total: int, *, peak: float, warmup: float) -> float:
    """Return the learning rate of `step` (0-based) out of `total` optimizer steps."""
    return peak * SCHEDULES[name]((step + 0.5) / total, warmup)
