"""From which probability on the door notices a mask that is missing or worn wrongly."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import Head, Notify
from serving.runtime.notice import judge

RULE_OF_THREE = 3
"""If none of n faces is noticed, less than 3/n of all are, with 95 % confidence (Hanley and Lippman-Hand, 1983)."""


@dataclass(frozen=True)
class Confidences:
    """How surely faces' masks are not worn properly, in 0..1: of those that are worn properly, and of the others."""

    worn: NDArray[np.float64]
    others: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rates:
    """What a threshold does to faces: how many of the worn ones it notices, and how many of the others it does not."""

    threshold: float
    false_alarms: int
    worn: int
    misses: int
    others: int

    @property
    def false_alarm_rate(self) -> float:
        """Share of the properly worn masks that are noticed, 0 where there is none."""
        return self.false_alarms / self.worn if self.worn else 0.0

    @property
    def miss_rate(self) -> float:
        """Share of the others that are not noticed, 0 where there is none."""
        return self.misses / self.others if self.others else 0.0


def confidences(
    rule: Notify, head: Head, truth: NDArray[np.integer], probabilities: NDArray[np.float32]
) -> Confidences:
    """Return what the rule's head says of faces, as the endpoint says it, by what their labels (N,) say."""
    reasons = [head.labels.index(label) for label in rule.labels]
    rows = (dict(zip(head.labels, row, strict=True)) for row in probabilities.tolist())
    values = np.array([judge(rule, {head.name: row}).confidence for row in rows])
    improper = np.isin(truth, reasons)
    return Confidences(values[~improper], values[improper])


def rates_at(faces: Confidences, threshold: float) -> Rates:
    """Return what a threshold does to faces."""
    return Rates(
        threshold,
        int((faces.worn >= threshold).sum()),
        len(faces.worn),
        int((faces.others < threshold).sum()),
        len(faces.others),
    )


def choose_threshold(faces: Confidences, rate: float) -> tuple[float | None, str]:
    """Return the threshold with the fewest misses at which at most a share `rate` of the worn masks is noticed.

    Of those with as few misses it is one with the fewest false alarms, in the middle between the two confidences that
    it parts, with as few digits as that takes: what a face gets on another machine may differ in the last ones.

    Args:
        faces: the confidences.
        rate: above 0 and below 1.

    Returns:
        The threshold, or None with the reason: a kind of face is not there, there are too few worn masks to show such a
        rate at all, or every threshold that holds it misses all the others.
    """
    worn, others = np.sort(faces.worn), np.sort(faces.others)
    needed = math.ceil(RULE_OF_THREE / rate)
    if len(worn) < needed:
        return None, (
            f"a false-alarm rate of {rate:g} takes at least {needed} faces with a properly worn mask, there are "
            f"{len(worn)}: even if none of them is noticed, the rate may be {RULE_OF_THREE}/{max(1, len(worn))}"
        )
    if len(others) == 0:
        return None, "no face has a mask that is missing or worn wrongly"
    # The threshold must be above this one; exact, since 0.07 * 100 is more than 7.
    allowed = math.floor(round(rate * len(worn), 9))
    limit = worn[len(worn) - 1 - allowed]
    noticed = others[others > limit]
    if len(noticed) == 0:
        return None, (
            f"at a false-alarm rate of {rate:g} every mask that is missing or worn wrongly would be missed: "
            f"{allowed + 1} of {len(worn)} properly worn ones have a confidence of {limit:.3g} or more"
        )
    high = float(noticed[0])
    return _between(float(worn[worn < high][-1]), high), ""


def _between(low: float, high: float) -> float:
    """Return the number with the fewest digits near the middle of two that is above the first and below the second."""
    middle = (low + high) / 2
    rounded = (round(middle, digits) for digits in range(2, 17))
    return next((number for number in rounded if low < number < high), high)
