"""How often the notice about a face mask fails: at the threshold that the model serves with, and at all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.labeled_faces import LabeledFace
from components.evaluate.slices import attribute_value
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.notice import NoticeFaces, NoticeRates, notice_confidences, notice_rates
from components.shared.metrics.ranking import Curve
from serving.runtime.card import ClassificationCard
from serving.runtime.notice import WORN, mask_rule, rule_of


@dataclass(frozen=True, slots=True, eq=False)
class NoticeScores:
    """Misses and false alarms of the notice.

    Attributes:
        rates: at the threshold.
        of_card: whether that is the threshold of the model's card; else the default, which a model without another one
            has.
        roc: the share of improper masks that is noticed by the false-alarm rate, over all thresholds; None where only
            one kind of mask is known.
    """

    rates: NoticeRates
    of_card: bool
    roc: Curve | None


def score_notices(
    predicted: Predictions,
    rows: NDArray[np.integer],
    found: Sequence[LabeledFace],
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
    labels = {head.name: head.labels for head in predicted.space.heads}[rule.head]
    faces = NoticeFaces(
        improper=np.array([state != WORN for state in states if state is not None]),
        confidences=notice_confidences(rule, labels, predicted.heads[rule.head][rows[known]]),
        persons=persons[known],
    )
    rates = notice_rates(faces, rule.threshold, resamples=resamples, seed=seed)
    return NoticeScores(rates, card is not None, faces.curve())
