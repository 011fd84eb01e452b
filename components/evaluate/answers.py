"""Class numbers without probabilities, a table of ImageID and ans, and the score that the predecessors made of them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.dataset.table import parse_table
from components.shared.dataset.text import read_text
from components.shared.metrics.classification import LabelScores
from serving.runtime.errors import InputError

NAME, ANSWER = "ImageID", "ans"
SPACE = "mask_gender_age"
"""What the numbers mean: the 18 classes."""


def is_answer_table(path: Path) -> bool:
    """Tell whether a file has the columns of class numbers, and not those of the predict step."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {NAME, ANSWER} <= set(header) and "face_id" not in header


def read_answers(path: Path) -> Predictions:
    """Return the classes as predictions with certainty, one face a picture.

    Raises InputError on a number that is no class, on a name that occurs twice, and on a table without a row.
    """
    parsed = parse_table(read_text(str(path)), str(path), (NAME, ANSWER))
    if parsed.complaints:
        raise InputError(f"{path}: {parsed.complaints[0]}")
    space = label_space(SPACE)
    numbers = {str(number): number for number in range(len(space.class_labels))}
    classes: dict[str, int] = {}
    for row in parsed.rows:
        name, answer = row.cells[NAME], row.cells[ANSWER]
        if answer not in numbers:
            raise InputError(f"{path}: row {row.line}: {answer!r} is no class; expected 0 to {len(numbers) - 1}")
        if name in classes:
            raise InputError(f"{path}: row {row.line}: '{name}' occurs twice; give each picture one answer")
        classes[name] = numbers[answer]
    if not classes:
        raise InputError(f"{path}: the table has no answers below its header")
    faces = tuple(PredictedFace(number, number, name, None) for number, name in enumerate(classes, 1))
    certain = np.eye(len(numbers), dtype=np.float32)[list(classes.values())]
    return Predictions(faces, {space.heads[0].name: certain}, space, path.name, "")


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
