"""What the val faces tell about a classifier: its temperatures, and what its notice about masks does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.calibrate.notify import choose_threshold
from components.calibrate.temperature import Fit, fit_temperature, tempered
from components.shared.dataset.join import Joined
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.bootstrap import RESAMPLES
from components.shared.metrics.classification import Calibration, calibration, classification_metrics
from components.shared.metrics.notice import NoticeFaces, NoticeRates, notice_confidences, notice_rates
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import InputError
from serving.runtime.notice import NO_MASKS, rule_of


@dataclass(frozen=True)
class Scores:
    """How well the probabilities of a head fit its labels: the lower both numbers are, the better."""

    log_loss: float
    calibration: Calibration

    @classmethod
    def of(cls, truth: NDArray[np.int64], probabilities: NDArray[np.float32]) -> "Scores":
        """Score probabilities (N, K) against true labels (N,), at least one."""
        return cls(classification_metrics(truth, probabilities).log_loss, calibration(truth, probabilities))


@dataclass(frozen=True)
class HeadFindings:
    """The temperature of a head, and its scores without and with it."""

    name: str
    fit: Fit
    before: Scores
    after: Scores


@dataclass(frozen=True)
class NotifyFindings:
    """What the notice does to the faces.

    Attributes:
        faces: how surely the masks are not worn properly, with the temperatures.
        asked: the largest false-alarm rate; 0 where the threshold is to stay.
        chosen: the threshold that follows from it; None for the model's own.
        rates: what the threshold that the model has now does.
        reason: why none was chosen though one was asked for; else "".
    """

    faces: NoticeFaces
    asked: float
    chosen: float | None
    rates: NoticeRates
    reason: str


@dataclass(frozen=True)
class Findings:
    """All that the faces tell.

    Attributes:
        reason: why they tell nothing; "" where they tell something.
        labeled: the faces that have a label; None where none was looked at.
        heads: every head.
        notify: about the notice; None where the model does not judge masks.
    """

    reason: str = ""
    labeled: Joined | None = None
    heads: tuple[HeadFindings, ...] = ()
    notify: NotifyFindings | None = None

    @property
    def temperatures(self) -> dict[str, float]:
        """The temperatures that the faces tell, by head."""
        return {head.name: head.fit.temperature for head in self.heads if head.fit.temperature is not None}

    @property
    def metrics(self) -> dict[str, float]:
        """All numbers by name; where there are several heads, that of the head comes first."""
        values = {}
        for head in self.heads:
            prefix = f"{head.name}_" if len(self.heads) > 1 else ""
            values[f"{prefix}temperature"] = head.fit.temperature or 1.0
            for when, scores in (("before", head.before), ("after", head.after)):
                values[f"{prefix}log_loss_{when}"] = scores.log_loss
                values[f"{prefix}calibration_error_{when}"] = scores.calibration.error
        if self.notify is not None:
            values["notify_threshold"] = self.notify.rates.threshold
            values |= self.notify.rates.defined()
        return values


def analyze(
    table: Predictions,
    labeled: Joined,
    persons: NDArray[np.integer],
    card: ClassificationCard,
    *,
    temperature: bool,
    false_alarm_rate: float,
) -> Findings:
    """Fit the temperatures, where they are asked for, and then the threshold, where a rate is asked for.

    `persons` are the numbers of the persons of the labeled faces.

    Raises InputError where a rate is asked for a model that does not judge masks, or probabilities are not finite.
    """
    rule = rule_of(card)
    if false_alarm_rate and rule is None:
        raise InputError(f"false_alarm_rate: label space '{card.label_space}' {NO_MASKS}; leave it out")
    if not len(labeled.rows):
        return Findings(f"none of the {len(table.faces)} predicted faces has a label", labeled)
    before = {name: values[labeled.rows] for name, values in table.heads.items()}
    after: dict[str, NDArray[np.float32]] = {}
    heads = []
    for name, truth in labeled.labels.items():
        scores = Scores.of(truth, before[name])
        fit = fit_temperature(truth, before[name], persons) if temperature else Fit(None, None, "none was asked for")
        after[name] = before[name] if fit.temperature is None else tempered(before[name], fit.temperature)
        heads.append(HeadFindings(name, fit, scores, Scores.of(truth, after[name])))
    if rule is None:
        return Findings("", labeled, tuple(heads))
    judging = next(head for head in card.heads if head.name == rule.head)
    improper = np.isin(labeled.labels[rule.head], [judging.labels.index(label) for label in rule.labels])
    faces = NoticeFaces(improper, notice_confidences(rule, judging.labels, after[rule.head]), persons)
    chosen, reason = choose_threshold(faces, false_alarm_rate) if false_alarm_rate else (None, "")
    rates = notice_rates(faces, rule.threshold if chosen is None else chosen, resamples=RESAMPLES)
    return Findings("", labeled, tuple(heads), NotifyFindings(faces, false_alarm_rate, chosen, rates, reason))
