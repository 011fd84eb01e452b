"""All scores of predictions: of classes, of the attributes that make up a class, and of the probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.join import Joined
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.bootstrap import (
    RESAMPLES,
    Interval,
    LabelCounts,
    resampled_counts,
    score_interval,
    share_interval,
)
from components.shared.metrics.classification import (
    AttributeScores,
    Calibration,
    LabelScores,
    attribute_classes,
    attribute_scores,
    calibration,
    classification_metrics,
    label_scores,
    label_words,
    predicted_classes,
)
from components.shared.metrics.ranking import Ranking, ranking


@dataclass(frozen=True)
class ProbabilityScores:
    """Scores that need probabilities."""

    log_loss: float
    calibration: Calibration
    ranking: Ranking


@dataclass(frozen=True)
class Scores:
    """Scores of the classes, and of each attribute where several make up a class.

    Attributes:
        labels: of the classes.
        classes: the scores of the classes.
        attributes: those of each attribute.
        probabilities: those that need probabilities; None of predictions that are class numbers alone.
        intervals: by name of a scalar metric; of those that have one.
        persons: as many are drawn for the intervals; an image without a person counts as one.
    """

    labels: tuple[str, ...]
    classes: LabelScores
    attributes: list[AttributeScores]
    probabilities: ProbabilityScores | None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    persons: int = 0

    def scalars(self) -> dict[str, float]:
        """Return the scalar metrics that have a value by name.

        Last is F1 of every class, or of every value of each attribute where several make up a class; what occurs
        neither in the truth nor among the predictions has none.
        """
        return {name: value for name, value in self._values().items() if value is not None}

    def undefined(self) -> tuple[str, ...]:
        """Return the names of the metrics without a value: nothing in the data defines them."""
        return tuple(name for name, value in self._values().items() if value is None)

    def _values(self) -> dict[str, float | None]:
        values: dict[str, float | None] = {**self.classes.scalars()}
        if self.probabilities is not None:
            values["log_loss"] = self.probabilities.log_loss
            values["calibration_error"] = self.probabilities.calibration.error
            values |= self.probabilities.ranking.scalars()
        for attribute in self.attributes:
            values[f"{attribute.name}_accuracy"] = attribute.scores.accuracy
            values[f"{attribute.name}_macro_f1"] = attribute.scores.macro_f1
        return values | self._label_f1()

    def _label_f1(self) -> dict[str, float | None]:
        parts = [(f"{one.name}_f1", one.labels, one.scores) for one in self.attributes]
        return {
            f"{prefix}_{word}": None if one.absent else one.f1
            for prefix, labels, scores in parts or [("f1", self.labels, self.classes)]
            for word, one in zip(label_words(labels), scores.classes, strict=True)
        }


def score_predictions(
    table: Predictions,
    joined: Joined,
    persons: NDArray[np.integer] | None = None,
    *,
    answers: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score the rows of `table` that have a label.

    Args:
        table: the predictions.
        joined: its rows that have a label.
        persons: the number of the person of each of these rows, from 0 on; None for no intervals.
        answers: the probabilities say nothing beside the class.
        resamples: how often persons are drawn for the intervals; 0 for none.
        seed: of the draws.
    """
    space, probabilities = table.space, table.class_probabilities()[joined.rows]
    predicted = predicted_classes(probabilities)
    attributes = (
        attribute_scores(space.attributes, space.class_labels, joined.truth, predicted)
        if len(space.attributes) > 1
        else []
    )
    classes: LabelScores
    of_probabilities = None
    if answers:
        classes = label_scores(joined.truth, predicted, len(space.class_labels))
    else:
        classes = scored = classification_metrics(joined.truth, probabilities)
        of_probabilities = ProbabilityScores(
            scored.log_loss, calibration(joined.truth, probabilities), ranking(joined.truth, probabilities)
        )
    count = 0 if persons is None else len(np.unique(persons))
    intervals = {}
    if persons is not None and count > 1 and resamples:
        intervals = _intervals(space, joined.truth, predicted, persons, resamples, seed)
    return Scores(space.class_labels, classes, attributes, of_probabilities, intervals, count)


def _intervals(
    space: LabelSpace,
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    persons: NDArray[np.integer],
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    def drawn(of_class: NDArray[np.int64] | None, labels: Sequence[str]) -> LabelCounts:
        true, guess = (truth, predicted) if of_class is None else (of_class[truth], of_class[predicted])
        return resampled_counts(persons, true, guess, len(labels), resamples=resamples, seed=seed)

    counts = drawn(None, space.class_labels)
    values = {"accuracy": counts.accuracies(), "macro_f1": counts.macro_f1s()}
    values |= {"micro_f1": values["accuracy"], "weighted_f1": counts.weighted_f1s()}
    parts = [("f1", space.class_labels, counts)]
    if len(space.attributes) > 1:
        parts = []
        for one in attribute_classes(space.attributes, space.class_labels):
            counts = drawn(one.of_class, one.labels)
            values |= {f"{one.name}_accuracy": counts.accuracies(), f"{one.name}_macro_f1": counts.macro_f1s()}
            parts.append((f"{one.name}_f1", one.labels, counts))
    for prefix, labels, counts in parts:
        values |= {f"{prefix}_{word}": f1 for word, f1 in zip(label_words(labels), counts.f1s().T, strict=True)}
    count = len(np.unique(persons))
    found = {
        name: share_interval(value, count) if name.endswith(("accuracy", "micro_f1")) else score_interval(value)
        for name, value in values.items()
    }
    return {name: one for name, one in found.items() if one is not None}


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, sample standard deviation (n - 1; None for a single value), minimum and maximum over folds."""

    mean: float
    deviation: float | None
    lowest: float
    highest: float


def spread_of(values: Sequence[float]) -> Spread:
    """Return the mean and spread of at least one value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, float(np.min(values)), float(np.max(values)))
