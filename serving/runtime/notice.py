"""The notice about a face mask that is missing or worn wrongly: the rule of a model, and what it says of a face."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from serving.runtime.card import NOTIFY_THRESHOLD, ClassificationCard, Head, Notify, Reason

WORN = "worn"
REASONS: tuple[Reason, ...] = ("incorrect", "absent")
"""What is not as it should be, as labels say it; where two are equally probable the later one is given."""

NO_MASKS = "does not tell worn masks from missing or wrongly worn ones"
"""Why labels have no rule, after what has them."""

_DIGITS = 9  # as many as identify a float32


@dataclass(frozen=True, slots=True)
class Notice:
    """What is said of a face that a model judged for its mask.

    Attributes:
        notify: the mask is missing or worn wrongly, with a confidence of the rule's threshold or more.
        reason: the more probable of the two; None without `notify`.
        confidence: the probability that the mask is not worn as it should be, in 0..1.
    """

    notify: bool
    reason: Reason | None
    confidence: float

    @property
    def urgency(self) -> tuple[bool, float]:
        """What notices of several models about one face are compared by: the largest counts."""
        return self.notify, self.confidence


def mask_rule(heads: Iterable[Head], threshold: float = NOTIFY_THRESHOLD) -> Notify | None:
    """Return the rule that follows from a model's heads, None where none of them judges masks.

    A head of masks is called `mask`, or `mask_` and further attributes. Each of its labels is `worn`, `incorrect` or
    `absent`, or begins with one of them before a slash, as `absent/male/<30`; at least one is `worn` and one is not.
    """
    for head in heads:
        states = {label: label.partition("/")[0] for label in head.labels}
        if head.name.partition("_")[0] != "mask" or not set(states.values()) <= {WORN, *REASONS}:
            continue
        labels = {reason: tuple(label for label in states if states[label] == reason) for reason in REASONS}
        reasons = {reason: found for reason, found in labels.items() if found}
        if reasons and WORN in states.values():
            return Notify(head=head.name, reasons=reasons, threshold=threshold)
    return None


def rule_of(card: ClassificationCard) -> Notify | None:
    """Return the rule of a model: the card's, else the one that follows from its heads, as in earlier versions."""
    return card.notify or mask_rule(card.heads)


def judge(rule: Notify, heads: Mapping[str, Mapping[str, float]]) -> Notice:
    """Return what `rule` says of a face with these probabilities: head -> label -> probability."""
    probabilities = heads[rule.head]
    sums = {
        reason: math.fsum(probabilities[label] for label in rule.reasons[reason])
        for reason in reversed(REASONS)
        if reason in rule.reasons
    }
    # The rounded number decides, since it is the one that is shown; float32 probabilities may sum to more than 1.
    confidence = float(f"{min(1.0, math.fsum(sums.values())):.{_DIGITS}g}")
    if confidence < rule.threshold:
        return Notice(False, None, confidence)
    more_probable = max(sums, key=sums.__getitem__)
    return Notice(True, more_probable, confidence)
