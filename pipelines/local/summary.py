"""The end of a local run in words: results, files, and the command to type next.

What is reported follows from the steps that ran, so that it fits every pipeline made of them.
"""

import json
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.catalog import (
    CALIBRATION_REPORT,
    DATA_REPORT,
    DETECTOR_REPORT,
    FACES_REPORT,
    LEADERBOARD,
    PROMOTION_REPORT,
    QUANTIZE_REPORT,
    QUANTIZED_PROMOTION_REPORT,
    QUANTIZED_REPORT,
    REPORT,
)
from pipelines.classification import ClassificationConfig
from pipelines.local.decisions import RunModel, run_models
from pipelines.local.run import Run
from pipelines.local.run_folder import LOG, outputs, scalars
from pipelines.parameters.batch_prediction import TABLE_TASK, BatchPredictionConfig
from pipelines.parameters.faces import CompositeParameters
from pipelines.parameters.pipeline import PipelineConfig

_UNITS = {"false_positives": " per photo"}
"""By metric: what follows its value."""
_IN_THE_REPORT = re.compile(r".+_f1_.+|top_\d+_accuracy")
"""Metrics of single labels and others that are in the report alone, unless they have a floor."""
_COLUMN = 15
_WIDTH = 120
_FILES = (
    ("report", REPORT),
    ("detector", DETECTOR_REPORT),
    ("calibration", CALIBRATION_REPORT),
    ("promotion", PROMOTION_REPORT),
    ("quantization", QUANTIZE_REPORT),
    ("  its report", QUANTIZED_REPORT),
    ("  promotion", QUANTIZED_PROMOTION_REPORT),
    ("leaderboard", LEADERBOARD),
    ("data report", DATA_REPORT),
    ("faces", FACES_REPORT),
)


def success(run: Run, config: PipelineConfig) -> Iterator[str]:
    """The lines after a run that succeeded: the best trial of a search, the metrics, the files, the models."""
    best, folds = (outputs(run.folder, task) for task in ("leaderboard", "evaluate-folds"))
    models = list(run_models(run.folder, config))
    if best:
        yield from _best_trial(best["best"])
    for model in models:
        if len(models) > 1:
            yield model.name
        yield from metrics_table(model.metrics, model.floors, model.intervals)
        if model.worst_group:
            yield f"  worst group: {model.worst_group}"
        yield ""
    if folds:
        yield from _spread(json.loads(folds["metrics_json"]))
        yield ""
    yield from files(run)
    for model in models:
        if model.details.exists():
            title = f"  of {config.model_dump()['precision']}" if model.model.quantized else "details"
            yield f"{title:<{_COLUMN}}{model.details}"
    if run.mlflow_run:
        yield f"MLflow run     {run.mlflow_run}"
    if run.detector_run:
        yield f"  of detector  {run.detector_run}"
    if run.mlflow_run.startswith("http") and not os.environ.get("MLFLOW_TRACKING_URI"):
        yield f"{'':<{_COLUMN}}(to read it, type: make ui; where that says another port, take that one)"
    for fold in sorted(run.folder.glob("fold=*")):
        yield f"{fold.name:<{_COLUMN}}{fold / 'export-onnx' / 'model'}"
    if isinstance(config, BatchPredictionConfig):
        yield from _predicted(run, config)
    elif models and models[-1].registered:
        yield from _registered(config, models)
    else:
        yield ""
        yield "next: make ui      (the run in MLflow and TensorBoard)"


def _predicted(run: Run, config: BatchPredictionConfig) -> Iterator[str]:
    """How much was predicted, where the table is, and how to look into it."""
    counts = {name: int(count) for name, count in scalars(run.folder, TABLE_TASK).items()}
    table = run.folder / config.table_name
    yield f"predicted      {counts['photos']} photos, {counts['rows']} rows, {counts['failed']} failed"
    yield f"table          {table}"
    yield ""
    if config.table_format == "parquet":
        yield f"next: .venv/bin/python -c 'import pandas; print(pandas.read_parquet(\"{table}\"))'"
    else:
        yield f"next: head {table}"


def _best_trial(best: dict[str, Any]) -> Iterator[str]:
    yield f"best trial     {best['number']:.0f}"
    for key, value in best["changes"].items():
        yield f"  {key}: {value}"
    yield ""


def _spread(metrics: dict[str, float]) -> Iterator[str]:
    """Mean, deviation and range of every metric over the folds."""
    names = [name.removesuffix("_mean") for name in metrics if name.endswith("_mean")]
    columns = ("mean", "std", "min", "max")
    width = max(len(name) for name in names)
    yield f"  {'':<{width}}" + "".join(f"  {column:>7}" for column in columns)
    for name in sorted(names):
        values = (metrics.get(f"{name}_{column}") for column in columns)
        yield f"  {name:<{width}}" + "".join(f"  {'-' if value is None else f'{value:.4f}':>7}" for value in values)


def _registered(config: PipelineConfig, models: Sequence[RunModel]) -> Iterator[str]:
    """The registered models, what was decided about them and why, and how to serve what answers a raw photo or a face.

    A detector is decided about with the classifier that it is served with.
    """
    served: tuple[str, bool] = ("", False)
    for number, model in enumerate(models):
        promoted = bool(model.decision.get("promoted"))
        aliases = "candidate and champion" if promoted else "candidate"
        with_next = number + 1 < len(models) and models[number + 1].model.promote == model.model.promote
        title = config.model_dump()["precision"] if model.model.quantized else "detector" if with_next else "model"
        yield f"{title:<{_COLUMN}}{model.name}, version {model.registered['version']} ({aliases})"
        yield from _indented(model.quantization)
        if not with_next:
            served = served if model.model.quantized else (model.name, promoted)
            if (composite := model.registered.get("composite_version")) and isinstance(config, CompositeParameters):
                yield f"with detector  {config.composite}, version {composite} ({aliases})"
                served = config.composite, promoted
            yield from _indented(model.decision.get("reason", ""))
        for name in model.missed:
            value = f"{model.metrics[name]:.4f}" if name in model.metrics else "no value"
            yield from _indented(f"below its floor: {name} of {model.name}, {value}, floor {model.floors[name]:.3f}")
    name, promoted = served
    default = promoted and name == ClassificationConfig().model_name
    yield ""
    yield "next: make serve" + ("" if default else f" MODEL=models:/{name}@{'champion' if promoted else 'candidate'}")
    yield "      make ui      (the run in MLflow and TensorBoard)"


def _indented(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, initial_indent=" " * _COLUMN, subsequent_indent=" " * _COLUMN)


def failure(run: Run) -> Iterator[str]:
    """The lines after a run whose step failed."""
    yield f"{run.failed} failed: {run.error}"
    yield ""
    yield from files(run)
    yield f"log            {run.folder / LOG}"


def metrics_table(
    metrics: Mapping[str, float], floors: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> Iterator[str]:
    """One line per metric but those of single labels, those with a floor first, also where one of these has no value.

    What is no share of something has its unit, and what has one its confidence interval.
    """
    names = {*floors, *(name for name in metrics if not _IN_THE_REPORT.fullmatch(name))}
    width = max(len(name) for name in names)
    for name in sorted(names, key=lambda name: (name not in floors, name)):
        value = f"{metrics[name]:.4f}{_UNITS.get(name, '')}" if name in metrics else "no value"
        interval = f" ({intervals[name][0]:.4f} to {intervals[name][1]:.4f})" if name in intervals else ""
        floor = f"   floor {floors[name]:.3f}" if name in floors else ""
        yield f"  {name:<{width}}  {value}{interval}{floor}"


def files(run: Run) -> Iterator[str]:
    """The run's folder, its copy in S3 and its reports."""
    yield f"run folder     {run.folder}"
    if run.address:
        yield f"artifacts      {run.address}"
    for title, name in _FILES:
        if (run.folder / name).exists():
            yield f"{title:<{_COLUMN}}{run.folder / name}"
