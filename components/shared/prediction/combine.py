"""How the probabilities of several views, folds or models become those of one.

`mean` is the mean of the probabilities, `log_mean` their geometric mean; both are divided by their sum. `log_mean` is
the mean of the logarithms: for two labels that came from one sigmoid it is the sigmoid of the mean logit.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import NOTIFY_THRESHOLD, ClassificationCard, Head, Notify
from serving.runtime.errors import InputError
from serving.runtime.notice import mask_rule, rule_of
from serving.runtime.validation import known

LOWEST = 1e-7
"""Probabilities below count as this one in `log_mean`: one model that rules a label out does not decide alone."""

JOINED = ("mask", "gender_age")
"""The label spaces whose models together give `JOINT`."""
JOINT = "mask_gender_age"

Floats = NDArray[np.floating[Any]]
_log = logging.getLogger(__name__)


def _mean(stacked: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = stacked.mean(axis=0)
    return mean


def _log_mean(stacked: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = np.exp(np.log(np.maximum(stacked, LOWEST)).mean(axis=0))
    return product


RULES: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {"mean": _mean, "log_mean": _log_mean}
"""Name of a rule -> the mean (N, K) of (M, N, K) probabilities, before it is divided by its sum."""
DEFAULT_RULE = "mean"


def check_rule(rule: str) -> None:
    """Raise InputError for an unknown rule."""
    if rule not in RULES:
        raise InputError(f"combine: unknown rule '{rule}'{known(rule, RULES)}")


def combine_probabilities(rule: str, probabilities: Sequence[Floats]) -> Floats:
    """Return the probabilities (N, K) that several of them, each (N, K), make together; they sum to 1.

    One alone stays as it is, to the last bit; several are combined in float64.

    Args:
        rule: one of RULES.
        probabilities: of the same faces and labels.

    Raises:
        InputError: the rule is unknown, there is nothing to combine, or shapes differ.
    """
    check_rule(rule)
    shapes = sorted({values.shape for values in probabilities})
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise InputError(f"expected probabilities (N, K) of one shape to combine, got {shapes or 'none'}")
    if len(probabilities) == 1:
        return probabilities[0]
    combined = RULES[rule](np.stack(probabilities).astype(np.float64))
    total: Floats = combined / combined.sum(axis=-1, keepdims=True)
    return total


def joint_probabilities(mask: Floats, gender_age: Floats) -> Floats:
    """Return (N, 18) probabilities of 6*mask + 3*gender + age from (N, 3) and (N, 6): the two are independent."""
    joint: Floats = (mask[:, :, None].astype(np.float64) * gender_age[:, None, :]).reshape(len(mask), -1)
    return joint


def joined_name(names: Sequence[str]) -> str:
    """Return the name of several models together: each of their names once, in alphabetical order."""
    return "+".join(sorted(set(names)))


def combined_rule(cards: Sequence[ClassificationCard], heads: Sequence[Head]) -> Notify | None:
    """Return the notice about masks that models give together, None where none of them judges masks.

    Where all that judge masks have one rule, it is theirs. Where their thresholds differ, none of these is right for
    the combined probabilities: the default one is taken, and the log says so.

    Args:
        cards: of the models.
        heads: of the combination.
    """
    rules = [rule for card in cards if (rule := rule_of(card)) is not None]
    if not rules:
        return None
    thresholds = sorted({rule.threshold for rule in rules})
    if len(thresholds) > 1:
        _log.warning(
            "the models notify of masks from %s on, together from the default %g on: calibrate the combined model",
            ", ".join(f"{threshold:g}" for threshold in thresholds),
            NOTIFY_THRESHOLD,
        )
    threshold = thresholds[0] if len(thresholds) == 1 else NOTIFY_THRESHOLD
    first, *others = (rule.model_copy(update={"threshold": threshold}) for rule in rules)
    if first.head in {head.name for head in heads} and all(other == first for other in others):
        return first
    return mask_rule(heads, threshold)
