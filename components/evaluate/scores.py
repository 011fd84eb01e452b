"""All scores of predictions: of classes, of the attributes that make up a class, and of calibration."""

from dataclasses import dataclass

from components.evaluate.join import Joined
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.calibration import Calibration, calibration
from components.shared.metrics.classification import (
    AttributeScores,
    ClassificationScores,
    attribute_scores,
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
