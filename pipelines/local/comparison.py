"""Runs side by side: the settings in which they differ, their scores with the best ones marked, their times."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.metrics.classification import LOWER_IS_BETTER
from pipelines.environment.settings import Settings
from pipelines.local.run_folder import CONFIG, LOG, find_run, outputs, pipeline_of, read_settings
from serving.runtime.errors import InputError, NotFoundError

ALWAYS = ("model", "epochs", "augmentation.name")
"""Settings that are shown where they are equal, too."""
_MLFLOW_ID = re.compile(r"[0-9a-f]{32}")
_EVENTS = re.compile(r"events\.out\.tfevents\.(\d+)\.")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run.

    Attributes:
        name: of its folder, or its MLflow id.
        training: settings of the training by dotted name, as the training has resolved them.
        pipeline: the other parameters of a local run; None where only the training is known.
        scores: metrics on the test split by name, means over the folds of a cross-validation.
        seconds: of the whole run and of the training, where they are known.
    """

    name: str
    training: Mapping[str, str]
    pipeline: Mapping[str, str] | None
    scores: Mapping[str, float]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RunTable:
    """Runs side by side. `settings` are the names that are shown, `scores` and `seconds` likewise."""

    runs: tuple[RunFacts, ...]
    settings: tuple[str, ...]
    scores: tuple[str, ...]
    seconds: tuple[str, ...]

    def best(self, score: str) -> set[str]:
        """Return the names of the runs with the best value of a metric; none where they are equal."""
        values = {run.name: run.scores[score] for run in self.runs if score in run.scores}
        if len(set(values.values())) < 2:
            return set()
        chosen = min(values.values()) if _lower_is_better(score) else max(values.values())
        return {name for name, value in values.items() if value == chosen}

    def lines(self, form: str = "text") -> Iterator[str]:
        """Yield the table: `text`, a column for each run, `csv`, a row for each run, or `json`, a list of objects."""
        yield from {"text": self._text, "csv": self._csv, "json": self._json}[form]()

    def _value(self, run: RunFacts, setting: str) -> str:
        return run.training.get(setting, (run.pipeline or {}).get(setting, ""))

    def _text(self) -> Iterator[str]:
        rows = [("", [f"{run.name}  " for run in self.runs])]
        rows += [(name, [f"{_cut(self._value(run, name)) or '-'}  " for run in self.runs]) for name in self.settings]
        marked = False
        for name in self.scores:
            best = self.best(name)
            marked = marked or bool(best)
            cells = [
                f"{run.scores[name]:.4f}{' *' if run.name in best else '  '}" if name in run.scores else "-  "
                for run in self.runs
            ]
            rows.append((name, cells))
        rows += [
            (name, [f"{run.seconds[name]:.0f}  " if name in run.seconds else "-  " for run in self.runs])
            for name in self.seconds
        ]
        width = max(len(name) for name, _ in rows)
        widths = [max(len(cells[column]) for _, cells in rows) for column in range(len(self.runs))]
        for name, cells in rows:
            columns = (f"{cell:>{wide}}" for cell, wide in zip(cells, widths, strict=True))
            yield f"{name:<{width}}  {' '.join(columns)}".rstrip()
        if marked:
            yield f"* the best; lower is better of {', '.join(filter(_lower_is_better, self.scores)) or 'none'}"

    def _csv(self) -> Iterator[str]:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["run", *self.settings, *self.scores, *self.seconds])
        for run in self.runs:
            numbers = [
                *(run.scores.get(name, "") for name in self.scores),
                *(run.seconds.get(name, "") for name in self.seconds),
            ]
            writer.writerow([run.name, *(self._value(run, name) for name in self.settings), *numbers])
        yield text.getvalue().rstrip("\n")

    def _json(self) -> Iterator[str]:
        content = [
            {
                "run": run.name,
                "settings": {name: self._value(run, name) for name in self.settings},
                "scores": dict(run.scores),
                "best": [name for name in self.scores if run.name in self.best(name)],
                "seconds": dict(run.seconds),
            }
            for run in self.runs
        ]
        yield json.dumps(content, indent=2)


def compare_runs(names: Sequence[str], settings: Settings) -> RunTable:
    """Read runs and put them side by side.

    Args:
        names: folders, names of local runs, or ids of MLflow runs, whose server is in the environment.
        settings: where local runs are.

    Raises:
        InputError: a run is named twice, or its files are damaged.
        NotFoundError: there is no such run.
        StorageError: MLflow cannot be used.
    """
    runs = tuple(
        _mlflow_run(name) if is_mlflow_run(name, settings) else _local_run(find_run(name, settings.runs))
        for name in names
    )
    if twice := sorted(name for name, count in Counter(run.name for run in runs).items() if count > 1):
        raise InputError(f"a run is named twice: {', '.join(twice)}")
    sides: list[Mapping[str, str]] = [
        {**(run.pipeline if all(one.pipeline is not None for one in runs) and run.pipeline else {}), **run.training}
        for run in runs
    ]
    found = dict.fromkeys(key for side in sides for key in side)
    differing = sorted(key for key in found if len({side.get(key, "") for side in sides}) > 1 and key not in ALWAYS)
    return RunTable(
        runs=runs,
        settings=(*(key for key in ALWAYS if key in found), *differing),
        scores=tuple(sorted({name for run in runs for name in run.scores})),
        seconds=tuple(sorted({name for run in runs for name in run.seconds})),
    )


def is_mlflow_run(name: str, settings: Settings) -> bool:
    """Return whether a name is the id of an MLflow run: 32 hexadecimal digits, and no folder of that name."""
    return bool(_MLFLOW_ID.fullmatch(name)) and not Path(name).exists() and not (settings.runs / name).exists()


def _local_run(folder: Path) -> RunFacts:
    config = read_settings(folder / CONFIG)
    trained = sorted(folder.glob("*/checkpoints/config.json"))
    details = read_settings(trained[-1]) if trained else {}
    training = dict(_flat(details.get("config", {})))
    if details.get("dataset_digest"):
        training["dataset_digest"] = str(details["dataset_digest"])[:12]
    parameters = dict(_flat({key: value for key, value in config.items() if key not in ("pipeline", "training")}))
    seconds = {"run_seconds": (folder / LOG).stat().st_mtime - (folder / CONFIG).stat().st_mtime}
    if trained and (spent := _training_seconds(trained[-1].parent)) is not None:
        seconds["training_seconds"] = spent
    return RunFacts(
        name=folder.absolute().name,
        training=training or parameters,
        pipeline={key: value for key, value in parameters.items() if key not in training},
        scores=_scores(folder),
        seconds={name: round(value, 1) for name, value in seconds.items()},
    )


def _scores(folder: Path) -> dict[str, float]:
    """Return the metrics of a run: of its models, or the means over its folds."""
    if folds := outputs(folder, "evaluate-folds"):
        values: dict[str, float] = json.loads(folds["metrics_json"])
        return {name.removesuffix("_mean"): value for name, value in values.items() if name.endswith("_mean")}
    models = pipeline_of(folder).models
    scores: dict[str, float] = {}
    for model in models:
        prefix = "quantized/" if model.quantized else ""
        if model.name != models[-1].name:
            prefix = f"{model.name.removesuffix('_name')}/"
        evaluated = outputs(folder, model.task("evaluate"))
        scores |= {prefix + name: value for name, value in json.loads(evaluated.get("metrics_json", "{}")).items()}
    return scores


def _training_seconds(checkpoints: Path) -> float | None:
    """Return the time from the first event that TensorBoard was sent to the end of the training."""
    begun = [int(match[1]) for path in checkpoints.glob("tensorboard/**/*") if (match := _EVENTS.match(path.name))]
    history = checkpoints / "history.json"
    return history.stat().st_mtime - min(begun) if begun and history.is_file() else None


def _mlflow_run(run_id: str) -> RunFacts:
    from mlflow.exceptions import MlflowException

    from components.shared.tracking.server import mlflow_client

    try:
        run = mlflow_client().get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise NotFoundError(f"MLflow has no run '{run_id}': check MLFLOW_TRACKING_URI") from error
    params = run.data.params
    training = {name.removeprefix("config."): text for name, text in params.items() if name.startswith("config.")}
    if digest := params.get("dataset_digest"):
        training["dataset_digest"] = digest[:12]
    scores = {name.removeprefix("Test/"): value for name, value in run.data.metrics.items() if name.startswith("Test/")}
    spent = {}
    if run.info.end_time:
        spent["training_seconds"] = round((run.info.end_time - run.info.start_time) / 1000, 1)
    return RunFacts(run_id, training, None, scores, spent)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)


def _lower_is_better(score: str) -> bool:
    return score.rpartition("/")[2] in LOWER_IS_BETTER


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
