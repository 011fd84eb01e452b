"""What a local run says at its end: metrics, where everything is, and the command to type next."""

import json
from collections.abc import Iterator

from pipelines.config import ClassificationConfig
from pipelines.local_run import Run
from pipelines.run_folder import DATA_REPORT, LOG, REPORT, outputs


def success(run: Run, config: ClassificationConfig) -> Iterator[str]:
    """The lines after a run that went through; the model may still have missed its floors."""
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
    for title, name in (("report", REPORT), ("data report", DATA_REPORT)):
        if (run.folder / name).exists():
            yield f"{title:<15}{run.folder / name}"
