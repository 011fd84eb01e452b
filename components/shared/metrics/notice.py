"""How often the notice about a face mask fails, at one threshold and at all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.metrics.bootstrap import Interval, resampled_counts, share_interval
from components.shared.metrics.ranking import Curve, roc_curve
from serving.runtime.card import Notify
from serving.runtime.notice import judge

RULE_OF_THREE = 3
"""If none of n fails, less than 3/n of all do, with 95 % confidence (Hanley and Lippman-Hand, 1983)."""


@dataclass(frozen=True, slots=True, eq=False)
class NoticeFaces:
    """Faces whose mask is known.

    Attributes:
        improper: bool (N,), whether the mask is not worn properly.
        confidences: (N,), how sure the model is of that, in 0..1, as the endpoint says it.
        persons: int (N,), the number of the person of each face.
    """

    improper: NDArray[np.bool_]
    confidences: NDArray[np.float64]
    persons: NDArray[np.integer]

    def curve(self) -> Curve | None:
        """Return the share of the improper masks that is noticed by the false-alarm rate; None without both kinds."""
        both = 0 < np.count_nonzero(self.improper) < len(self.improper)
        return roc_curve(self.improper, self.confidences) if both else None


@dataclass(frozen=True, slots=True)
class NoticeRates:
    """Misses and false alarms at a threshold; a rate is None without a face to divide by.

    Attributes:
        threshold: the lowest confidence that is noticed.
        improper: faces whose mask is not worn properly; `missed` of them are not noticed.
        missed: see `improper`.
        proper: faces whose mask is worn properly; `false_alarms` of them are noticed.
        false_alarms: see `proper`.
        miss_interval: of the miss rate; None where it is not known.
        false_alarm_interval: of the false-alarm rate likewise.
    """

    threshold: float
    improper: int
    missed: int
    proper: int
    false_alarms: int
    miss_interval: Interval | None = None
    false_alarm_interval: Interval | None = None

    @property
    def miss_rate(self) -> float | None:
        """The share of the improper ones that is missed."""
        return self.missed / self.improper if self.improper else None

    @property
    def false_alarm_rate(self) -> float | None:
        """The share of the proper ones that is noticed."""
        return self.false_alarms / self.proper if self.proper else None

    def scalars(self) -> dict[str, float | None]:
        """Return the rates by metric name."""
        return {"notify_miss_rate": self.miss_rate, "notify_false_alarm_rate": self.false_alarm_rate}

    def defined(self) -> dict[str, float]:
        """Return the rates that have a value by metric name."""
        return {name: value for name, value in self.scalars().items() if value is not None}

    def intervals(self) -> dict[str, Interval]:
        """Return the intervals that there are by metric name."""
        both = {"notify_miss_rate": self.miss_interval, "notify_false_alarm_rate": self.false_alarm_interval}
        return {name: one for name, one in both.items() if one is not None}


def notice_confidences(rule: Notify, labels: Sequence[str], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what the endpoint says of faces, (N,), from the probabilities (N, K) of the labels of the rule's head."""
    rows = (dict(zip(labels, row, strict=True)) for row in probabilities.tolist())
    return np.array([judge(rule, {rule.head: row}).confidence for row in rows], np.float64)


def notice_rates(faces: NoticeFaces, threshold: float, *, resamples: int = 0, seed: int = 0) -> NoticeRates:
    """Return what a threshold does to faces, with intervals by the bootstrap over persons.

    Where no face fails, or all do, the interval is the exact one of the persons, see `share_interval`.

    Args:
        faces: the faces.
        threshold: the lowest confidence that is noticed.
        resamples: how often persons are drawn; 0 for no intervals.
        seed: of the draws.
    """
    improper, noticed = faces.improper, faces.confidences >= threshold
    miss = alarm = None
    _, persons = np.unique(faces.persons, return_inverse=True)
    if resamples and persons.max(initial=0) > 0:
        counts = resampled_counts(persons, improper.astype(int), noticed.astype(int), 2, resamples=resamples, seed=seed)
        alarms, misses = 1 - counts.recalls().T
        miss = _interval(misses, ~noticed[improper], persons[improper])
        alarm = _interval(alarms, noticed[~improper], persons[~improper])
    return NoticeRates(
        threshold,
        int(improper.sum()),
        int((improper & ~noticed).sum()),
        int((~improper).sum()),
        int((~improper & noticed).sum()),
        miss,
        alarm,
    )


def _interval(rates: NDArray[np.float64], fails: NDArray[np.bool_], persons: NDArray[np.integer]) -> Interval | None:
    return share_interval(rates, len(np.unique(persons))) if len(fails) else None


def persons_needed(rate: float) -> int:
    """Return how many persons without a failure show that less than a share `rate` fails."""
    return math.ceil(RULE_OF_THREE / rate)
