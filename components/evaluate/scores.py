"""All scores of predictions: of classes, of the attributes that make up a class, and of calibration; their spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluate.join import Joined
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.classification import (
    AttributeScores,
    Calibration,
    ClassificationScores,
    attribute_scores,
    calibration,
    classification_metrics,
    predicted_classes,
)


@dataclass(frozen=True)
class Scores:
    """Scores of the classes, of each attribute where several make up a class, and of calibration."""

    classes: ClassificationScores
    attributes: list[AttributeScores]
    calibration: Calibration

    def scalars(self) -> dict[str, float]:
        """Return the scalar metrics by name."""
        values = {**self.classes.scalars(), "calibration_error": self.calibration.error}
        for attribute in self.attributes:
            values[f"{attribute.name}_accuracy"] = attribute.scores.accuracy
            values[f"{attribute.name}_macro_f1"] = attribute.scores.macro_f1
        return values


def score_predictions(table: Predictions, joined: Joined) -> Scores:
    """Score the rows of `table` that have a label."""
    space, probabilities = table.space, table.class_probabilities()[joined.rows]
    attributes = (
        attribute_scores(space.attributes, space.class_labels, joined.truth, predicted_classes(probabilities))
        if len(space.attributes) > 1
        else []
    )
    return Scores(
        classification_metrics(joined.truth, probabilities), attributes, calibration(joined.truth, probabilities)
    )


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
