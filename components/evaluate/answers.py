"""Class numbers without probabilities, a table of ImageID and ans, and the score that the predecessors made of them."""

from pathlib import Path
from typing import Any

import numpy as np

from components.shared.dataset.answers import read_class_numbers
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.metrics.classification import LabelScores


def certain_predictions(path: Path, space_name: str) -> Predictions:
    """Return the class numbers of a table as predictions with certainty, one face a picture.

    Raises InputError for an unknown label space, and as `read_class_numbers`.
    """
    space = label_space(space_name)
    numbers = read_class_numbers(path, space)
    faces = tuple(PredictedFace(number, number, name, None) for number, name in enumerate(numbers, 1))
    parts = np.unravel_index(list(numbers.values()), [len(head.labels) for head in space.heads])
    heads = {
        head.name: np.eye(len(head.labels), dtype=np.float32)[part]
        for head, part in zip(space.heads, parts, strict=True)
    }
    return Predictions(faces, heads, space, path.name, "")


def result_of(scores: LabelScores) -> dict[str, Any]:
    """Return the result JSON of the predecessors: accuracy, and the plain mean of F1 over all classes.

    Both values are percentages; `raw` are the fractions. A class without a face and without an answer has F1 0 here,
    other than in `macro_f1`.
    """
    f1 = float(np.mean([score.f1 for score in scores.classes]))
    return {
        "accuracy": {"value": f"{scores.accuracy:.2%}", "raw": scores.accuracy, "rank": True, "decs": True},
        "f1": {"value": f"{f1:.2%}", "raw": f1, "rank": False, "decs": True},
    }
