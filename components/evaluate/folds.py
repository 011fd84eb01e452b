"""A cross-validation: the folds' metrics, their mean and spread, and all faces judged by models that never saw them."""

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.evaluate.folds_report import Fold, FoldsReport, render_folds_report
from components.evaluate.join import join
from components.evaluate.scores import Scores, score_predictions
from components.evaluate.spread import Spread, spread_of
from components.shared.dataset.annotations import Annotations, digest, read_annotations
from components.shared.dataset.predictions import Predictions, read_predictions
from components.shared.output_file import write_whole
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run
from serving.runtime.errors import InputError


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation says of a recipe for training.

    Attributes:
        spreads: by metric, what the folds' values amount to.
        out_of_fold: the metrics of all faces together.
        class_f1: F1 of every class over all faces, by label.
        labels: of the classes.
        confusion: over all faces; a row per true class, a column per predicted one.
        run_id: the MLflow run above those of the folds; "" without tracking.
    """

    spreads: dict[str, Spread]
    out_of_fold: dict[str, float]
    class_f1: dict[str, float]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    run_id: str

    def metrics(self) -> dict[str, float]:
        """All figures by name."""
        figures = {name: value for metric, spread in self.spreads.items() for name, value in spread.named(metric)}
        figures |= {f"out_of_fold_{metric}": value for metric, value in self.out_of_fold.items()}
        return figures | {f"out_of_fold_f1/{label}": value for label, value in self.class_f1.items()}


def evaluate_folds(
    predictions: Sequence[Path], annotations: Path, report: Path, *, run_ids: Sequence[str] = ()
) -> CrossValidation:
    """Bring the judged folds together and write an HTML report.

    Every face is judged once, by the model that was trained without its fold. An MLflow run is opened for the whole,
    in the experiment of the folds' runs, which are shown below it from then on; it gets the figures and the report.

    Args:
        predictions: CSV of the predict step for each of the folds.
        annotations: the annotations whose images have folds.
        report: the HTML file to write.
        run_ids: MLflow runs of the folds' trainings; "" for one that was not tracked.

    Raises:
        InputError: predictions are not those of one fold each, are incomplete, or of different label spaces.
    """
    if report.resolve() in {path.resolve() for path in (*predictions, annotations)}:
        raise InputError(f"{report}: the report would replace an input; name another file")
    if not predictions:
        raise InputError(f"{annotations}: no fold was judged, so there is nothing to report")
    data = read_annotations(annotations)
    tables: dict[int, Predictions] = {}
    for path in predictions:
        table = read_predictions(path)
        fold = _fold_of(table, data, path)
        if fold in tables:
            raise InputError(f"{path}: there are predictions of fold {fold} already; name each fold's once")
        tables[fold] = table
    folds = [_evaluated(number, table, data) for number, table in tables.items()]
    together = _together(list(tables.values()))
    joined = join(together, _judged(data, list(tables)), max_missing=0)
    scores = score_predictions(together, joined)
    found = CrossValidation(
        spreads={name: spread_of([fold.metrics[name] for fold in folds]) for name in folds[0].metrics},
        out_of_fold=scores.scalars(),
        class_f1=_class_f1(together, scores),
        labels=together.space.class_labels,
        confusion=scores.classes.confusion.tolist(),
        run_id="",
    )
    page = FoldsReport(
        model=together.model,
        space=together.space,
        total=len({image.fold for image in data.images} - {None}),
        folds=folds,
        faces=len(joined.rows),
        images=joined.images,
        dataset=digest(annotations),
        leaks=bool(data.info.get("leaks", False)),
        spreads=found.spreads,
        scores=scores,
    )
    text = render_folds_report(page)
    write_whole(report, text)
    return replace(found, run_id=_log(page, found, text, run_ids))


def _evaluated(number: int, table: Predictions, data: Annotations) -> Fold:
    joined = join(table, _judged(data, [number]), max_missing=0)
    return Fold(number, len(table.faces), score_predictions(table, joined).scalars())


def _fold_of(table: Predictions, data: Annotations, path: Path) -> int:
    """The fold that all predicted faces are in."""
    fold_of_image = {image.id: image.fold for image in data.images}
    folds = sorted({str(fold_of_image.get(face.image_id)) for face in table.faces})
    if len(folds) > 1 or folds == ["None"]:
        raise InputError(
            f"{path}: expected the faces of one fold of the annotations, got those of {', '.join(folds)}: name the "
            "annotations that were put into folds, and the predictions of each fold's own faces"
        )
    return int(folds[0])


def _judged(data: Annotations, folds: Collection[int]) -> Annotations:
    """The annotations with these folds, and nothing else, to be judged."""
    return replace(
        data, images=tuple(replace(image, split="test" if image.fold in folds else None) for image in data.images)
    )


def _together(tables: Sequence[Predictions]) -> Predictions:
    """One table of all. Raises InputError when they are of different label spaces."""
    spaces = sorted({table.space.name for table in tables})
    if len(spaces) > 1:
        raise InputError(f"the predictions are of different label spaces: {', '.join(spaces)}")
    faces = tuple(face for table in tables for face in table.faces)
    heads = {name: np.concatenate([table.heads[name] for table in tables]) for name in tables[0].heads}
    return Predictions(faces, heads, tables[0].space, tables[0].model, "")


def _class_f1(table: Predictions, scores: Scores) -> dict[str, float]:
    classes = zip(table.space.class_labels, scores.classes.classes, strict=True)
    return {label: score.f1 for label, score in classes if not score.absent}


def _log(report: FoldsReport, found: CrossValidation, text: str, run_ids: Sequence[str]) -> str:
    """Write the whole down in MLflow and return its run."""
    experiment = f"{DEFAULT_EXPERIMENT}-{report.space.name}"
    params = {
        "folds": report.total,
        "judged": [fold.number for fold in report.folds],
        "dataset_digest": report.dataset,
    }
    with open_run(experiment, run_name=f"cross-validation {report.model}", params=params, tolerant=True) as run:
        run.adopt(run_ids)
        scalars = {name: value for name, value in found.metrics().items() if "/" not in name}
        run.metrics({f"Test/{name}": value for name, value in scalars.items()})
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder, "report.html")
            page.write_text(text, encoding="utf-8")
            run.artifact(page, "evaluation")
        return run.run_id
