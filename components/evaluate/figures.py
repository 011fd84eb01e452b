"""What joined predictions amount to, in figures."""

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
class Figures:
    """Scores of the classes, of each attribute where a class is composed of several, and how honest confidences are."""

    scores: ClassificationScores
    attributes: list[AttributeScores]
    reliability: Calibration

    def scalars(self) -> dict[str, float]:
        """The scalar metrics by name."""
        values = {**self.scores.scalars(), "calibration_error": self.reliability.error}
        for attribute in self.attributes:
            values[f"{attribute.name}_accuracy"] = attribute.scores.accuracy
            values[f"{attribute.name}_macro_f1"] = attribute.scores.macro_f1
        return values


def figures_of(table: Predictions, joined: Joined) -> Figures:
    """Score the rows of `table` that have a label."""
    space, probabilities = table.space, table.class_probabilities()[joined.rows]
    attributes = (
        attribute_scores(space.attributes, space.class_labels, joined.truth, predicted_classes(probabilities))
        if len(space.attributes) > 1
        else []
    )
    return Figures(
        classification_metrics(joined.truth, probabilities), attributes, calibration(joined.truth, probabilities)
    )
