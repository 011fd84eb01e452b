"""The end of a local run in words: results, files, and the command to type next.

What is reported follows from the steps that ran, so that it fits every pipeline made of them.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.catalog import DATA_REPORT, DETECTOR_REPORT, FACES_REPORT, LEADERBOARD, REPORT
from pipelines.classification import ClassificationConfig
from pipelines.local.run import Run
from pipelines.local.run_folder import LOG, outputs, outputs_by_model
from pipelines.parameters.faces import CompositeParameters
from pipelines.parameters.pipeline import PipelineConfig

_FLOORS = {"model_name": "floors", "detector_name": "detector_floors"}
"""By the parameter with the name of a model: the one with its floors."""

_UNITS = {"false_positives": " per photo"}
"""By metric: what follows its value."""


def success(run: Run, config: PipelineConfig) -> Iterator[str]:
    """The lines after a run that succeeded: the best trial of a search, the metrics, the files, the models."""
    best, folds = (outputs(run.folder, task) for task in ("leaderboard", "evaluate-folds"))
    models = list(_models(run, config))
    if best:
        yield from _best_trial(best["best"])
    for model in models:
        if len(models) > 1:
            yield model.name
        yield from metrics_table(model.metrics, model.floors)
        yield ""
    if folds:
        yield from _spread(json.loads(folds["metrics_json"]))
        yield ""
    yield from files(run)
    if run.mlflow_run:
        yield f"MLflow run     {run.mlflow_run}"
    if run.detector_run:
        yield f"  of detector  {run.detector_run}"
    for fold in sorted(run.folder.glob("fold=*")):
        yield f"{fold.name:<15}{fold / 'export-onnx' / 'model'}"
    if models and models[-1].registered:
        yield from _registered(config, models)
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


@dataclass(frozen=True, slots=True)
class _Model:
    """A model that a run has evaluated and registered: what the two steps returned, and the floors."""

    name: str
    floors: dict[str, float]
    evaluated: dict[str, Any]
    registered: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The scalar metrics by name."""
        metrics: dict[str, float] = json.loads(self.evaluated["metrics_json"])
        return metrics

    @property
    def missed(self) -> list[str]:
        """The metrics below their floors, as `evaluate` judges them: what has no value does not hold its floor."""
        return [name for name, floor in sorted(self.floors.items()) if not self.metrics.get(name, -math.inf) >= floor]


def _models(run: Run, config: PipelineConfig) -> Iterator[_Model]:
    """The models that were evaluated, in the order of their tasks."""
    registered = dict(outputs_by_model(run.folder, "register", config.pipeline))
    for parameter, evaluated in outputs_by_model(run.folder, "evaluate", config.pipeline):
        if evaluated:
            floors = getattr(config, _FLOORS[parameter], {})
            yield _Model(getattr(config, parameter), floors, evaluated, registered[parameter])


def _registered(config: PipelineConfig, models: Sequence[_Model]) -> Iterator[str]:
    """The registered models, the floors that were missed, and how to serve what answers a raw photo, or else a face."""
    champion = models[-1].evaluated["Output"]
    aliases = "candidate and champion" if champion else "candidate"
    for title, model in zip(("detector", "model") if len(models) > 1 else ("model",), models, strict=True):
        yield f"{title:<15}{model.name}, version {model.registered['version']} ({aliases})"
    served = models[-1].name
    if isinstance(config, CompositeParameters) and config.composite:
        served = config.composite
        yield f"with detector  {served}, version {models[-1].registered['composite_version']} ({aliases})"
    for model in models:
        if model.missed:
            of = f" of {model.name}" if len(models) > 1 else ""
            missed = ", ".join(name if name in model.metrics else f"{name} (no value)" for name in model.missed)
            yield f"               not the champion: below the floor of {missed}{of}"
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
    """One line per metric, those with a floor first, also where one of these has no value.

    What is no share of something has its unit.
    """
    names = {*metrics, *floors}
    width = max(len(name) for name in names)
    for name in sorted(names, key=lambda name: (name not in floors, name)):
        value = f"{metrics[name]:.4f}{_UNITS.get(name, '')}" if name in metrics else "no value"
        floor = f"   floor {floors[name]:.3f}" if name in floors else ""
        yield f"  {name:<{width}}  {value}{floor}"


def files(run: Run) -> Iterator[str]:
    """The run's folder, its copy in S3 and its reports."""
    yield f"run folder     {run.folder}"
    if run.address:
        yield f"artifacts      {run.address}"
    for title, name in (
        ("report", REPORT),
        ("detector", DETECTOR_REPORT),
        ("leaderboard", LEADERBOARD),
        ("data report", DATA_REPORT),
        ("faces", FACES_REPORT),
    ):
        if (run.folder / name).exists():
            yield f"{title:<15}{run.folder / name}"
