"""The files of an evaluation for machines and for slides: metrics, tables, curves and pictures."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.shared.metrics.bootstrap import Interval
from components.shared.report.confusion import confusion_picture

METRICS, CLASSES, SLICES, FAIRNESS, CURVES = "metrics.json", "classes.csv", "slices.csv", "fairness.csv", "curves.csv"
CONFUSION, NORMALIZED = "confusion.png", "confusion_normalized.png"
MISTAKES, MISTAKES_PICTURE, RESULT = "mistakes.csv", "mistakes.png", "result.json"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as JSON with sorted keys."""
    text = json.dumps(values, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def interval_ends(intervals: Mapping[str, Interval]) -> dict[str, float]:
    """Return the bounds of intervals as metrics: `<metric>_low` and `<metric>_high`."""
    return {f"{name}_{end}": value for name, one in intervals.items() for end, value in one._asdict().items()}


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table; None is an empty cell, floats have six digits behind the point."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(["" if value is None else _cell(value) for value in row])


def _cell(value: object) -> object:
    return f"{value:.6f}" if isinstance(value, float) else value


def write_confusion(folder: Path, labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> None:
    """Write a confusion matrix, rows truth, as two pictures: counts, and shares of the row."""
    matrix = np.array(confusion, np.int64)
    for name, normalized in ((CONFUSION, False), (NORMALIZED, True)):
        Image.fromarray(confusion_picture(labels, matrix, normalized=normalized)).save(folder / name)
