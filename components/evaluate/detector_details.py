"""The files of the evaluation of a detector."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from components.evaluate.details import (
    CLASSES,
    CURVES,
    METRICS,
    SLICES,
    interval_ends,
    write_confusion,
    write_json,
    write_table,
)
from components.evaluate.detection_report import NO_FACE, DetectionEvaluation


def write_detector_details(evaluation: DetectionEvaluation, folder: Path) -> None:
    """Write the metrics, tables, curves and pictures into a folder."""
    scores, labels = evaluation.scores, evaluation.boxes.labels
    metrics = {**evaluation.metrics, **interval_ends(evaluation.intervals)}
    write_json(folder / METRICS, {"metrics": metrics, "without_value": list(evaluation.without)})
    rows = [(row.name, row.counts, row.ap50, row.ap50_95) for row in evaluation.label_rows()]
    write_table(
        folder / CLASSES,
        ("class", "label", "faces", "found", "false", "precision", "recall", "ap50", "ap50_95"),
        [
            (number, label, one.faces, one.right, one.false, *_defined(one.precision, one.recall, *values))
            for number, (label, one, *values) in enumerate(rows)
        ],
    )
    sizes = [(name, scores.at_threshold(one), one.map50) for name, one in scores.sizes.items()]
    write_table(
        folder / SLICES,
        ("dimension", "value", "faces", "found", "recall", "map50"),
        [("size", name, one.faces, one.right, *_defined(one.recall, value)) for name, one, value in sizes],
    )
    write_table(folder / CURVES, ("curve", "label", "x", "y"), _curves(evaluation))
    write_confusion(folder, (*labels, NO_FACE), scores.confusion.tolist())


def _curves(evaluation: DetectionEvaluation) -> Iterable[Sequence[object]]:
    """Yield precision by recall at IoU 0.5 of every label with a true face, as average precision has it."""
    precision = evaluation.scores.overall.by_label.precision[0]
    for number, label in enumerate(evaluation.boxes.labels):
        if not np.isnan(precision[0, number]):
            for level, value in zip(np.linspace(0, 1, len(precision)).tolist(), precision[:, number], strict=True):
                yield "precision_recall", label, level, float(value)


def _defined(*values: float) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
