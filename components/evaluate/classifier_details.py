"""The files of the evaluation of a classifier."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from components.evaluate.answers import result_of
from components.evaluate.details import (
    CLASSES,
    CURVES,
    FAIRNESS,
    METRICS,
    MISTAKES,
    MISTAKES_PICTURE,
    RESULT,
    SLICES,
    interval_ends,
    write_confusion,
    write_json,
    write_table,
)
from components.evaluate.mistakes import mistakes_sheet
from components.evaluate.report import Evaluated, Mistakes
from components.shared.metrics.bootstrap import Interval
from components.shared.metrics.ranking import Curve

_NO_INTERVAL = (None, None)


def write_classifier_details(evaluated: Evaluated, metrics: Mapping[str, float], folder: Path, *, result: bool) -> None:
    """Write the tables, curves and pictures into a folder; with `result` also the JSON of the predecessors."""
    labels, scores = evaluated.table.space.class_labels, evaluated.scores
    ends = interval_ends(evaluated.intervals())
    without = [*scores.undefined(), *(name for name, value in _notices(evaluated).items() if value is None)]
    worst = evaluated.slices.worst
    group = worst and {name: getattr(worst, name) for name in ("dimension", "value", "faces", "accuracy", "macro_f1")}
    write_json(folder / METRICS, {"metrics": {**metrics, **ends}, "without_value": without, "worst_group": group})
    write_table(
        folder / CLASSES,
        ("class", "label", "faces", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision"),
        _classes(evaluated),
    )
    write_table(
        folder / SLICES,
        ("dimension", "value", "faces", "persons", "accuracy", "accuracy_low", "accuracy_high",
         "macro_f1", "macro_f1_low", "macro_f1_high", "small"),
        [
            (one.dimension, one.value, one.faces, one.persons, one.accuracy, *_ends(one.accuracy_interval),
             one.macro_f1, *_ends(one.macro_f1_interval), int(one.small))
            for one in evaluated.slices.slices
        ],
    )  # fmt: skip
    write_table(
        folder / FAIRNESS,
        ("by", "value", "attribute", "label", "faces", "accuracy", "gap", "true_positive_rate", "false_positive_rate"),
        _fairness(evaluated),
    )
    write_table(folder / CURVES, ("curve", "label", "x", "y", "threshold"), _curves(evaluated))
    write_confusion(folder, labels, scores.classes.confusion.tolist())
    _write_mistakes(evaluated.mistakes, folder)
    if result:
        write_json(folder / RESULT, result_of(scores.classes))


def _notices(evaluated: Evaluated) -> dict[str, float | None]:
    return evaluated.notices.rates.scalars() if evaluated.notices is not None else {}


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return interval if interval is not None else _NO_INTERVAL


def _classes(evaluated: Evaluated) -> Iterable[Sequence[object]]:
    """Yield a row per class; a ratio without a denominator is empty."""
    probabilities = evaluated.scores.probabilities
    for number, (label, one) in enumerate(zip(evaluated.scores.labels, evaluated.scores.classes.classes, strict=True)):
        ranked = probabilities.ranking.classes[number] if probabilities is not None else None
        yield (
            number,
            label,
            one.support,
            one.predicted,
            one.precision if one.predicted else None,
            one.recall if one.support else None,
            None if one.absent else one.f1,
            *((ranked.roc_auc, ranked.average_precision) if ranked is not None else _NO_INTERVAL),
        )


def _fairness(evaluated: Evaluated) -> Iterable[Sequence[object]]:
    """Yield a row per group, and one per group and label with its rates."""
    for group in evaluated.fairness.groups:
        yield group.by, group.value, None, None, group.faces, group.accuracy, group.gap, None, None
    for table in evaluated.fairness.tables:
        for row in table.rows:
            for group, true, false in zip(table.groups, row.true, row.false, strict=True):
                yield table.by, group.value, table.attribute, row.label, group.faces, None, None, true, false


def _curves(evaluated: Evaluated) -> Iterable[Sequence[object]]:
    """Yield the points of all curves.

    `roc` is the true by the false-positive rate, `precision_recall` precision by recall, `reliability` accuracy by mean
    confidence, with the lower bound of the bin as threshold, and `notice` the miss rate by the false-alarm rate.
    """
    probabilities = evaluated.scores.probabilities
    if probabilities is not None:
        for label, one in zip(evaluated.scores.labels, probabilities.ranking.classes, strict=True):
            yield from _rows("roc", label, one.roc)
            yield from _rows("precision_recall", label, one.precision_recall)
        for part in probabilities.calibration.bins:
            if part.count:
                yield "reliability", "", part.confidence, part.accuracy, part.low
    if evaluated.notices is not None and evaluated.notices.roc is not None:
        roc = evaluated.notices.roc
        yield from _rows("notice", "", Curve(roc.x, 1 - roc.y, roc.thresholds))


def _rows(name: str, label: str, curve: Curve | None) -> Iterable[Sequence[object]]:
    if curve is not None:
        thin = curve.thinned()
        for x, y, threshold in zip(thin.x.tolist(), thin.y.tolist(), thin.thresholds.tolist(), strict=True):
            yield name, label, x, y, threshold


def _write_mistakes(mistakes: Mistakes, folder: Path) -> None:
    """Write the worst mistakes as a table and, where there is a picture of one, as a sheet of pictures."""
    write_table(
        folder / MISTAKES,
        ("rank", "path", "x", "y", "width", "height", "truth", "prediction", "probability", "probability_of_truth",
         "person"),
        [
            (rank, one.subject.image.file_name, *(one.subject.predicted.box or (None,) * 4), one.truth, one.guess,
             one.probability, one.of_truth, one.subject.image.person)
            for rank, one in enumerate(mistakes.worst, start=1)
        ],
    )  # fmt: skip
    if any(one.crop is not None for one in mistakes.worst):
        Image.fromarray(mistakes_sheet(mistakes.worst)).save(folder / MISTAKES_PICTURE)
