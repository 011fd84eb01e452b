"""Temperature scaling: one number for each head, so that its probabilities say how often it is right."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

LOWEST, HIGHEST = 0.1, 10.0
"""Between what temperatures the best one is searched."""

MOST_ERROR = 0.25
"""Largest standard error of a temperature, as a share of it: a less certain one may do more harm than none.

At best, where every face is as informative as one can be, that takes about 36 faces of a head with two labels.
"""

SMALLEST = float(np.finfo(np.float32).tiny)
"""What a probability of 0 counts as."""

_DIGITS = 4


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


def fit_temperature(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Fit:
    """Return the temperature at which probabilities (N, K) have the lowest log loss for the true classes (N,).

    Guo et al., "On Calibration of Modern Neural Networks", 2017. The standard error is that of a maximum likelihood
    estimate: faces are taken as independent.
    """
    if len(truth) == 0:
        return Fit(None, None, "no face has a label")
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    logs -= logs.max(axis=1, keepdims=True)
    chosen = logs[np.arange(len(truth)), truth]
    if not chosen.any():
        return Fit(None, None, f"all {len(truth)} faces are right, so the lower a temperature, the lower the log loss")

    def loss(log_temperature: float) -> float:
        scaled = logs * math.exp(-log_temperature)
        return float((logsumexp(scaled, axis=1) - chosen * math.exp(-log_temperature)).mean())

    bounds = math.log(LOWEST), math.log(HIGHEST)
    found = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7}).x)
    if min(found - bounds[0], bounds[1] - found) < 1e-3:
        return Fit(None, None, f"the best temperature is not between {LOWEST:g} and {HIGHEST:g}")
    scaled = logs * math.exp(-found)
    weights = softmax(scaled, axis=1)
    mean = (weights * scaled).sum(axis=1, keepdims=True)
    information = float((weights * (scaled - mean) ** 2).sum())
    error = 1 / math.sqrt(information)
    temperature = round(math.exp(found), _DIGITS)
    if error > MOST_ERROR:
        needed = math.ceil(len(truth) * (error / MOST_ERROR) ** 2)
        return Fit(
            None,
            error,
            f"of {len(truth)} faces, {np.count_nonzero(chosen)} of them wrong, a temperature of {temperature:g} would "
            f"be known to {error:.0%} only, at most {MOST_ERROR:.0%} is of use; about {needed} such faces would do",
        )
    return Fit(temperature, error)


def tempered(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float32]:
    """Return softmax(log p / temperature) of probabilities (N, K), with SMALLEST in place of 0."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    scaled: NDArray[np.float64] = softmax(logs / temperature, axis=1)
    return scaled.astype(np.float32)
