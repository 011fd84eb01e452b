"""Evaluation of a cross-validation: metrics per fold, their mean and spread, and out-of-fold metrics of all faces."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.evaluate.labeled_faces import labeled_faces
from components.evaluate.report import Evaluated, Fold, render_folds_report
from components.evaluate.scores import Spread, score_predictions, spread_of
from components.shared.dataset.annotations import Annotations, digest, read_annotations
from components.shared.dataset.join import join
from components.shared.dataset.persons import person_numbers
from components.shared.dataset.predictions import Predictions, read_predictions
from components.shared.dataset.same_pictures import check_pictures
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run
from serving.runtime.errors import InputError
from serving.runtime.output import check_output, write_text


@dataclass(frozen=True)
class CrossValidation:
    """The metrics of a cross-validation.

    Attributes:
        spreads: mean and spread over the folds by metric.
        out_of_fold: the metrics of all faces together.
        class_f1: F1 of every class over all faces, by label.
        labels: of the classes.
        confusion: over all faces; a row per true class, a column per predicted one.
        run_id: the parent of the folds' MLflow runs; "" without tracking.
    """

    spreads: dict[str, Spread]
    out_of_fold: dict[str, float]
    class_f1: dict[str, float]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    run_id: str

    def metrics(self) -> dict[str, float]:
        """Return all scalar metrics by name; a single fold has no deviation."""
        values: dict[str, float] = {}
        for metric, spread in self.spreads.items():
            parts = {"mean": spread.mean, "std": spread.deviation, "min": spread.lowest, "max": spread.highest}
            values |= {f"{metric}_{part}": value for part, value in parts.items() if value is not None}
        values |= {f"out_of_fold_{metric}": value for metric, value in self.out_of_fold.items()}
        return values | {f"out_of_fold_f1/{label}": value for label, value in self.class_f1.items()}


def evaluate_folds(
    predictions: Sequence[Path], annotations: Path, report: Path, *, run_ids: Sequence[str] = ()
) -> CrossValidation:
    """Combine the predictions of the folds and write an HTML report.

    Every face is evaluated once, with the model that was trained without its fold. The metrics and the report go to a
    new MLflow run in the experiment of the folds' runs, which become its children.

    Args:
        predictions: CSV of the predict step for each of the folds.
        annotations: the annotations whose images have folds.
        report: the HTML file to write.
        run_ids: MLflow runs of the folds' trainings; "" for one that was not tracked.

    Raises:
        InputError: predictions are of other pictures, are not those of one fold each, are incomplete, or of different
            label spaces.
    """
    check_output(report, *predictions, annotations)
    if not predictions:
        raise InputError(f"{annotations}: no predictions of any fold, so there is nothing to report")
    data = read_annotations(annotations)
    tables: dict[int, Predictions] = {}
    compared = set()
    for path in predictions:
        table = read_predictions(path)
        if not isinstance(table, Predictions):
            raise InputError(f"{path}: predictions of task '{table.task}'; folds are evaluated for classifiers")
        compared.add(check_pictures(table, data, path, annotations))
        fold = _fold_of(table, data, path)
        if fold in tables:
            raise InputError(f"{path}: there are predictions of fold {fold} already; name each fold's once")
        tables[fold] = table
    folds = [_evaluated(number, table, data) for number, table in tables.items()]
    combined = _combined(list(tables.values()))
    joined = join(combined, _of_folds(data, list(tables)), max_missing=0)
    persons = person_numbers([subject.image for subject in labeled_faces(combined, joined, data)])
    scores = score_predictions(combined, joined, persons)
    labels = combined.space.class_labels
    shared = [name for name in folds[0].metrics if all(name in fold.metrics for fold in folds)]
    result = CrossValidation(
        spreads={name: spread_of([fold.metrics[name] for fold in folds]) for name in shared},
        out_of_fold=scores.scalars(),
        class_f1={k: score.f1 for k, score in zip(labels, scores.classes.classes, strict=True) if not score.absent},
        labels=labels,
        confusion=scores.classes.confusion.tolist(),
        run_id="",
    )
    evaluated = Evaluated(combined, joined, scores, digest(annotations), data.info.leaks, "; ".join(sorted(compared)))
    total = len({image.fold for image in data.images} - {None})
    page = render_folds_report(evaluated, folds, total, result.spreads)
    write_text(report, page)
    params = {"folds": total, "evaluated": list(tables), "dataset_digest": evaluated.dataset}
    experiment, name = f"{DEFAULT_EXPERIMENT}-{combined.space.name}", f"cross-validation {combined.model}"
    with open_run(experiment, run_name=name, params=params, tolerant=True) as run:
        run.adopt(run_ids)
        run.metrics({f"Test/{name}": value for name, value in result.metrics().items() if "/" not in name})
        run.text(page, "evaluation/report.html")
        return replace(result, run_id=run.run_id)


def _evaluated(number: int, table: Predictions, data: Annotations) -> Fold:
    joined = join(table, _of_folds(data, [number]), max_missing=0)
    return Fold(number, len(table.faces), score_predictions(table, joined).scalars())


def _fold_of(table: Predictions, data: Annotations, path: Path) -> int:
    """Return the fold of all predicted faces; InputError when they are of several."""
    fold_of_image = {image.id: image.fold for image in data.images}
    folds = sorted({str(fold_of_image.get(face.image_id)) for face in table.faces})
    if len(folds) > 1 or folds == ["None"]:
        raise InputError(
            f"{path}: expected the faces of one fold of the annotations, got those of {', '.join(folds)}: name the "
            "annotations that were put into folds, and the predictions of each fold's own faces"
        )
    return int(folds[0])


def _of_folds(data: Annotations, folds: Collection[int]) -> Annotations:
    """Return the annotations with these folds as the test split, and nothing else in a split."""
    return replace(
        data, images=tuple(replace(image, split="test" if image.fold in folds else None) for image in data.images)
    )


def _combined(tables: Sequence[Predictions]) -> Predictions:
    """Return one table of all. Raises InputError when they are of different label spaces."""
    spaces = sorted({table.space.name for table in tables})
    if len(spaces) > 1:
        raise InputError(f"the predictions are of different label spaces: {', '.join(spaces)}")
    faces = tuple(face for table in tables for face in table.faces)
    heads = {name: np.concatenate([table.heads[name] for table in tables]) for name in tables[0].heads}
    return Predictions(faces, heads, tables[0].space, tables[0].model, "")
