"""How often the notice about a face mask fails: at the threshold that the model serves with, and at all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.slices import attribute_value
from components.evaluate.subjects import Subject
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.bootstrap import Interval, interval, resampled_counts
from components.shared.metrics.ranking import Curve, roc_curve
from serving.runtime.card import ClassificationCard, Notify
from serving.runtime.notice import WORN, judge, mask_rule, rule_of


@dataclass(frozen=True, slots=True, eq=False)
class NoticeScores:
    """Misses and false alarms of the notice; a rate is None without a face to divide by.

    Attributes:
        threshold: the lowest probability that is noticed.
        of_card: whether it is that of the model's card; else the default, which a model without another one has.
        improper: faces whose mask is not worn properly; `missed` of them are not noticed.
        proper: faces whose mask is worn properly; `false_alarms` of them are noticed.
        miss_interval: of the miss rate.
        false_alarm_interval: of the false-alarm rate.
        roc: the share of improper ones that is noticed by the false-alarm rate, over all thresholds.
    """

    threshold: float
    of_card: bool
    improper: int
    missed: int
    proper: int
    false_alarms: int
    miss_interval: Interval | None
    false_alarm_interval: Interval | None
    roc: Curve | None

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

    def intervals(self) -> dict[str, Interval]:
        """Return the intervals that there are by metric name."""
        both = {"notify_miss_rate": self.miss_interval, "notify_false_alarm_rate": self.false_alarm_interval}
        return {name: one for name, one in both.items() if one is not None}


def score_notices(
    predicted: Predictions,
    rows: NDArray[np.integer],
    found: Sequence[Subject],
    persons: NDArray[np.integer],
    card: ClassificationCard | None,
    *,
    resamples: int,
    seed: int,
) -> NoticeScores | None:
    """Score the notices of the faces whose mask is known; None where the model has no rule, or no mask is known.

    Args:
        predicted: all predictions.
        rows: the rows of `found`.
        found: the faces.
        persons: the numbers of their persons, (N,).
        card: the card of the model; None takes the rule that follows from the heads.
        resamples: how often persons are drawn for the intervals; 0 for none.
        seed: of the draws.
    """
    rule = rule_of(card) if card is not None else mask_rule(predicted.space.heads)
    state_of = attribute_value("mask")
    states = [state_of(subject) for subject in found]
    known = np.array([state is not None for state in states], bool)
    if rule is None or not known.any():
        return None
    improper = np.array([state != WORN for state in states if state is not None])
    confidences = _confidences(rule, predicted, rows[known])
    noticed = confidences >= rule.threshold
    miss = alarm = None
    _, numbers = np.unique(persons[known], return_inverse=True)
    if numbers.max() > 0 and resamples:
        counts = resampled_counts(numbers, 2 * improper + noticed, 4, resamples=resamples, seed=seed).astype(float)
        with np.errstate(invalid="ignore"):
            miss = interval(counts[:, 2] / counts[:, 2:].sum(axis=1))
            alarm = interval(counts[:, 1] / counts[:, :2].sum(axis=1))
    return NoticeScores(
        threshold=rule.threshold,
        of_card=card is not None,
        improper=int(improper.sum()),
        missed=int((improper & ~noticed).sum()),
        proper=int((~improper).sum()),
        false_alarms=int((~improper & noticed).sum()),
        miss_interval=miss,
        false_alarm_interval=alarm,
        roc=roc_curve(improper, confidences) if 0 < improper.sum() < len(improper) else None,
    )


def _confidences(rule: Notify, predicted: Predictions, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the confidence of every row as the endpoint says it."""
    labels = {head.name: head.labels for head in predicted.space.heads}[rule.head]
    values = predicted.heads[rule.head][rows].tolist()
    return np.array([judge(rule, {rule.head: dict(zip(labels, row, strict=True))}).confidence for row in values])
