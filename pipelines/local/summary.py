"""What a local run says at its end: metrics, where everything is, and the command to type next."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.local.run import Run
from pipelines.local.run_folder import DATA_REPORT, LEADERBOARD, LOG, REPORT, outputs
from pipelines.parameters import ClassificationConfig, CrossValidationConfig, ModelConfig, PipelineConfig
from pipelines.search_parameters import SearchConfig


def success(run: Run, config: PipelineConfig) -> Iterator[str]:
    """The lines after a run that went through."""
    return _SUMMARIES[config.pipeline](run, config)


def _registered(run: Run, config: ModelConfig) -> Iterator[str]:
    """A model that is registered now; it may have missed its floors."""
    judged = outputs(run.folder, "evaluate").parameters
    metrics = json.loads(judged["metrics_json"])
    yield from table(metrics, config.floors)
    yield ""
    yield from places(run)
    if run.mlflow_run:
        yield f"MLflow run     {run.mlflow_run}"
    version = outputs(run.folder, "register").parameters["version"]
    aliases = "candidate and champion" if judged["Output"] else "candidate"
    yield f"model          {config.model_name}, version {version} ({aliases})"
    if not judged["Output"]:
        missed = [name for name, floor in sorted(config.floors.items()) if metrics[name] < floor]
        yield f"               not the champion: below the floor of {', '.join(missed)}"
    alias = "champion" if judged["Output"] else "candidate"
    default = alias == "champion" and config.model_name == ClassificationConfig().model_name
    yield ""
    yield "next: make serve" + ("" if default else f" MODEL=models:/{config.model_name}@{alias}")
    yield "      make ui      (the run in MLflow and TensorBoard)"


def _searched(run: Run, config: SearchConfig) -> Iterator[str]:
    """The best configuration, and the model that it has given."""
    best = outputs(run.folder, "leaderboard").parameters["best"]
    yield f"best trial     {best['number']:.0f}"
    for key, value in best["changes"].items():
        yield f"  {key}: {value}"
    yield ""
    yield from _registered(run, config)


def _cross_validated(run: Run, _: CrossValidationConfig) -> Iterator[str]:
    """Mean and spread of the folds; there is no model to serve."""
    figures = json.loads(outputs(run.folder, "evaluate-folds").parameters["metrics_json"])
    names = [name.removesuffix("_mean") for name in figures if name.endswith("_mean")]
    columns = ("mean", "std", "min", "max")
    width = max(len(name) for name in names)
    yield f"  {'':<{width}}" + "".join(f"  {column:>7}" for column in columns)
    for name in sorted(names):
        values = (figures.get(f"{name}_{column}") for column in columns)
        yield f"  {name:<{width}}" + "".join(f"  {'-' if value is None else f'{value:.4f}':>7}" for value in values)
    yield ""
    yield from places(run)
    if run.mlflow_run:
        yield f"MLflow run     {run.mlflow_run}"
    for fold in sorted(run.folder.glob("fold=*")):
        yield f"{fold.name:<15}{fold / 'export-onnx' / 'model'}"
    yield ""
    yield "next: make ui      (the folds in MLflow and TensorBoard)"


def failure(run: Run) -> Iterator[str]:
    """The lines after a run whose step failed."""
    yield f"{run.failed} failed: {run.error}"
    yield ""
    yield from places(run)
    yield f"log            {run.folder / LOG}"


def table(metrics: dict[str, float], floors: dict[str, float]) -> Iterator[str]:
    """One line per metric, those with a floor first."""
    width = max(len(name) for name in metrics)
    for name in sorted(metrics, key=lambda name: (name not in floors, name)):
        floor = f"   floor {floors[name]:.3f}" if name in floors else ""
        yield f"  {name:<{width}}  {metrics[name]:.4f}{floor}"


def places(run: Run) -> Iterator[str]:
    """Where the run's files are."""
    yield f"run folder     {run.folder}"
    if run.address:
        yield f"artifacts      {run.address}"
    for title, name in (("report", REPORT), ("leaderboard", LEADERBOARD), ("data report", DATA_REPORT)):
        if (run.folder / name).exists():
            yield f"{title:<15}{run.folder / name}"


_SUMMARIES: dict[str, Callable[[Run, Any], Iterator[str]]] = {
    "classification": _registered,
    "cross_validation": _cross_validated,
    "search": _searched,
}
