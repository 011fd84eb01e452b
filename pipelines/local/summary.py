"""The end of a local run in words: results, files, and the command to type next.

What is reported follows from the steps that ran, so that it fits every pipeline made of them.
"""

import json
from collections.abc import Iterator
from typing import Any

from pipelines.catalog import DATA_REPORT, FACES_REPORT, LEADERBOARD, REPORT
from pipelines.classification import ClassificationConfig
from pipelines.local.run import Run
from pipelines.local.run_folder import LOG, outputs
from pipelines.parameters.faces import CompositeParameters
from pipelines.parameters.model import PublishParameters
from pipelines.parameters.pipeline import PipelineConfig


def success(run: Run, config: PipelineConfig) -> Iterator[str]:
    """The lines after a run that succeeded: the best trial of a search, the metrics, the files, the model."""
    best, evaluated, folds, registered = (
        outputs(run.folder, task) for task in ("leaderboard", "evaluate", "evaluate-folds", "register")
    )
    floors = config.floors if isinstance(config, PublishParameters) else {}
    if best:
        yield from _best_trial(best["best"])
    if evaluated:
        yield from metrics_table(json.loads(evaluated["metrics_json"]), floors)
        yield ""
    if folds:
        yield from _spread(json.loads(folds["metrics_json"]))
        yield ""
    yield from files(run)
    if run.mlflow_run:
        yield f"MLflow run     {run.mlflow_run}"
    for fold in sorted(run.folder.glob("fold=*")):
        yield f"{fold.name:<15}{fold / 'export-onnx' / 'model'}"
    if registered and isinstance(config, PublishParameters):
        yield from _model(config, evaluated, registered)
    else:
        yield ""
        yield "next: make ui      (the run in MLflow and TensorBoard)"


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


def _model(config: PublishParameters, evaluated: dict[str, Any], registered: dict[str, Any]) -> Iterator[str]:
    """The registered models, the floors that were missed, and how to serve what answers a raw photo, or else a face."""
    champion, metrics = evaluated["Output"], json.loads(evaluated["metrics_json"])
    aliases = "candidate and champion" if champion else "candidate"
    yield f"model          {config.model_name}, version {registered['version']} ({aliases})"
    served = config.model_name
    if isinstance(config, CompositeParameters) and config.composite:
        served = config.composite
        yield f"with detector  {served}, version {registered['composite_version']} ({aliases})"
    if not champion:
        missed = [name for name, floor in sorted(config.floors.items()) if metrics[name] < floor]
        yield f"               not the champion: below the floor of {', '.join(missed)}"
    default = champion and served == ClassificationConfig().model_name
    alias = "champion" if champion else "candidate"
    yield ""
    yield "next: make serve" + ("" if default else f" MODEL=models:/{served}@{alias}")
    yield "      make ui      (the run in MLflow and TensorBoard)"


def failure(run: Run) -> Iterator[str]:
    """The lines after a run whose step failed."""
    yield f"{run.failed} failed: {run.error}"
    yield ""
    yield from files(run)
    yield f"log            {run.folder / LOG}"


def metrics_table(metrics: dict[str, float], floors: dict[str, float]) -> Iterator[str]:
    """One line per metric, those with a floor first."""
    width = max(len(name) for name in metrics)
    for name in sorted(metrics, key=lambda name: (name not in floors, name)):
        floor = f"   floor {floors[name]:.3f}" if name in floors else ""
        yield f"  {name:<{width}}  {metrics[name]:.4f}{floor}"


def files(run: Run) -> Iterator[str]:
    """The run's folder, its copy in S3 and its reports."""
    yield f"run folder     {run.folder}"
    if run.address:
        yield f"artifacts      {run.address}"
    for title, name in (
        ("report", REPORT),
        ("leaderboard", LEADERBOARD),
        ("data report", DATA_REPORT),
        ("faces", FACES_REPORT),
    ):
        if (run.folder / name).exists():
            yield f"{title:<15}{run.folder / name}"
