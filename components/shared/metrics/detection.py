"""Detection metrics: average precision of found boxes, and what is right, false and missed at a threshold."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.metrics.matching import ALL, Comparison, Counts, Matches, PhotoBoxes, Sides

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Those of COCO's AP: 0.5 to 0.95."""

FROM_24: Sides = (24.0, math.inf)
SIZES: Mapping[str, Sides] = {
    "under_24": (0.0, 24.0),
    "24_to_48": (24.0, 48.0),
    "48_to_96": (48.0, 96.0),
    "from_96": (96.0, math.inf),
}
"""Name of a size of faces -> its range."""


@dataclass(frozen=True, slots=True, eq=False)
class RangeScores:
    """The faces of a range of sizes at IoU 0.5.

    Attributes:
        served: matched with the boxes that the endpoint gives, each under its best label.
        by_label: matched with the boxes of every label, for average precision.
    """

    served: Matches
    by_label: Matches

    @property
    def map50(self) -> float:
        """The mean over the labels of AP at IoU 0.5; NaN without a face."""
        return self.by_label.mean_average_precision()


@dataclass(frozen=True, slots=True, eq=False)
class DetectionScores:
    """Detection metrics of photos.

    Attributes:
        overall: all faces.
        strict: all faces and the boxes of every label at COCO's ten IoUs.
        any_label: all faces and the boxes that the endpoint gives at IoU 0.5, whatever the labels.
        sizes: the faces of a size, by name.
        from_24: the faces of 24 px and more.
        threshold: the lowest score that the model serves.
        confusion: int (C + 1, C + 1), rows truth, columns found at the threshold; the last of each is no face.
    """

    overall: RangeScores
    strict: Matches
    any_label: Matches
    sizes: Mapping[str, RangeScores]
    from_24: RangeScores
    threshold: float
    confusion: NDArray[np.int64]

    def at_threshold(self, sizes: RangeScores, label: int | None = None) -> Counts:
        """Return what the endpoint finds of a range of sizes at the threshold, of one label or of all."""
        return sizes.served.at(self.threshold, label)

    def scalars(self, labels: Sequence[str]) -> dict[str, float]:
        """Return the metrics by name, NaN where one has no denominator; `labels` name the AP of each label."""
        counts = self.at_threshold(self.overall)
        values = {
            "map50": self.overall.map50,
            "map50_95": self.strict.mean_average_precision(),
            "precision": counts.precision,
            "recall": counts.recall,
            "false_positives": counts.false_positives,
            "map50_from_24": self.from_24.map50,
        }
        values |= {f"map50_{name}": one.map50 for name, one in self.sizes.items()}
        values |= {f"recall_{name}": self.at_threshold(one).recall for name, one in self.sizes.items()}
        if len(labels) > 1:
            each = self.overall.by_label.average_precision().tolist()
            values |= dict(zip(label_metrics(labels), each, strict=True))
        return values


FLOORS = ("map50", "map50_95", "map50_from_24", "precision", "recall")
"""The metrics that may have a floor: higher is better."""


def label_metrics(labels: Sequence[str]) -> list[str]:
    """Return the name of the AP at IoU 0.5 of each label, as MLflow takes it: ap50_worn_male_30 for worn/male/<30.

    Where two would be equal, labels are counted instead.
    """
    words = [re.sub(r"[^\w.-]+", "_", label).strip("_") for label in labels]
    if len({*words, ""}) <= len(words):
        words = [str(number) for number in range(len(labels))]
    return [f"ap50_{word}" for word in words]


def detection_scores(
    served: Sequence[PhotoBoxes], by_label: Sequence[PhotoBoxes], labels: int, threshold: float
) -> DetectionScores:
    """Score found boxes; they should come from a low score on.

    Args:
        served: at least one photo, with the boxes that the endpoint gives, each under its best label.
        by_label: the same photos with the boxes of every label; `served` itself where there is one label.
        labels: how many labels there are.
        threshold: the lowest score that the model serves.

    Raises:
        InputError: there is no photo.
    """
    answers = Comparison(served, labels)
    ranking = answers if by_label is served else Comparison(by_label, labels)

    def of_sizes(sides: Sides) -> RangeScores:
        given = answers.match(sides=sides)
        return RangeScores(given, given if ranking is answers else ranking.match(sides=sides))

    any_label = answers.match(by_label=False)
    return DetectionScores(
        overall=of_sizes(ALL),
        strict=ranking.match(IOUS),
        any_label=any_label,
        sizes={name: of_sizes(sides) for name, sides in SIZES.items()},
        from_24=of_sizes(FROM_24),
        threshold=threshold,
        confusion=_confusion(any_label, served, labels, threshold),
    )


def _confusion(matches: Matches, photos: Sequence[PhotoBoxes], labels: int, threshold: float) -> NDArray[np.int64]:
    matrix = np.zeros((labels + 1, labels + 1), np.int64)
    shown = matches.found_with >= threshold
    for (photo, _, truth), by, found in zip(matches.truths, matches.found_by, shown, strict=True):
        matrix[truth, photos[photo].found_labels[by] if found else labels] += 1
    false = matches.found[(matches.scores >= threshold) & ~matches.right]
    matrix[labels, :labels] = np.bincount(false[:, 2], minlength=labels)
    return matrix
