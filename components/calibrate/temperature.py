"""Temperature scaling: one number for each head, so that its probabilities say how often it is right."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.1, 10.0
"""Between what temperatures the best one is searched."""

MOST_ERROR = 0.25
"""Largest standard error of a temperature, as a share of it: a less certain one may do more harm than none.

At best, where every face is as informative as one can be, that takes about 36 persons of a head with two labels.
"""

SMALLEST = float(np.finfo(np.float32).tiny)
"""What a probability of 0 counts as."""

_DIGITS = 4
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Fit:
    """The temperature of a head.

    Attributes:
        temperature: None where the faces do not tell it.
        error: its standard error as a share of it; None where no temperature is best.
        reason: why there is none; "" where there is one.
    """

    temperature: float | None
    error: float | None
    reason: str = ""


def fit_temperature(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], persons: NDArray[np.integer]
) -> Fit:
    """Return the temperature at which probabilities (N, K) have the lowest log loss for the true classes (N,).

    Guo et al., "On Calibration of Modern Neural Networks", 2017. `persons` (N,) are the numbers of the persons:
    faces of one person are alike, so the standard error is the larger one of that of a maximum likelihood estimate,
    which takes faces as independent, and of the one for clusters (Liang and Zeger, "Longitudinal Data Analysis Using
    Generalized Linear Models", 1986).

    The log loss is convex in 1 / temperature, so its slope is 0 once. Halving finds that without SciPy, whose import
    costs 1 s of CPU time.
    """
    if len(truth) == 0:
        return Fit(None, None, "no face has a label")
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    logs -= logs.max(axis=1, keepdims=True)
    chosen = logs[np.arange(len(truth)), truth]
    if not chosen.any():
        return Fit(None, None, f"all {len(truth)} faces are right, so the lower a temperature, the lower the log loss")
    _, numbers = np.unique(persons, return_inverse=True)
    count = int(numbers.max()) + 1
    if count == 1:
        return Fit(None, None, f"all {len(truth)} faces are of one person")
    bounds = math.log(LOWEST), math.log(HIGHEST)
    low, high = bounds
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weights = _softmax(logs * math.exp(-middle))
        higher = ((weights * logs).sum(axis=1) - chosen).sum() > 0
        low, high = (middle, high) if higher else (low, middle)
    found = (low + high) / 2
    if min(found - bounds[0], bounds[1] - found) < 1e-3:
        return Fit(None, None, f"the best temperature is not between {LOWEST:g} and {HIGHEST:g}")
    scaled = logs * math.exp(-found)
    weights = _softmax(scaled)
    mean = (weights * scaled).sum(axis=1, keepdims=True)
    information = float((weights * (scaled - mean) ** 2).sum())
    slopes = np.bincount(numbers, mean[:, 0] - chosen * math.exp(-found))
    spread = float(np.square(slopes).sum()) * count / (count - 1)
    error = math.sqrt(max(information, spread)) / information
    temperature = round(math.exp(found), _DIGITS)
    if error > MOST_ERROR:
        needed = math.ceil(count * (error / MOST_ERROR) ** 2)
        return Fit(
            None,
            error,
            f"of {len(truth)} faces of {count} persons, {np.count_nonzero(chosen)} of them wrong, a temperature of "
            f"{temperature:g} would have a standard error of {error:.0%}, at most {MOST_ERROR:.0%} is allowed; about "
            f"{needed} such persons would do",
        )
    return Fit(temperature, error)


def tempered(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float32]:
    """Return softmax(log p / temperature) of probabilities (N, K), with SMALLEST in place of 0."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    return _softmax(logs / temperature).astype(np.float32)


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares
