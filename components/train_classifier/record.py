"""What a training writes: checkpoints, scalars for TensorBoard and MLflow, figures for people, and JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.tracking.runs import Run
from components.train_classifier.config.objective import METRICS
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.figures import class_table, prediction_grid
from components.train_classifier.learner import Learner
from components.train_classifier.loop import Validation
from components.train_classifier.unfinished import BEST, CLASSES, LAST, PREDICTIONS, Unfinished, link

Row = dict[str, float]
"""An epoch: its number from 1, and its scores."""


class Scalars:
    """Sends named numbers to TensorBoard event files in a folder and to an MLflow run."""

    def __init__(self, folder: Path, run: Run, *, first_step: int = 1) -> None:
        """Open the event file. What an earlier, killed process wrote from `first_step` on is taken back."""
        self._board = SummaryWriter(str(folder), purge_step=first_step if first_step > 1 else None)
        self._run = run

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        """Log `values` at `step`."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._run.metrics(values, step)

    def predictions(self, grid: NDArray[np.uint8], table: str, step: int) -> None:
        """Show a picture (h,w,3) and a table in TensorBoard."""
        self._board.add_image("Val/predictions", grid, step, dataformats="HWC")
        self._board.add_text("Val/classes", f"```\n{table}\n```", step)

    def close(self) -> None:
        """Write what is buffered and close the event file."""
        self._board.close()


def write_json(value: Any, path: Path) -> None:
    """Write JSON that people read: indented, keys sorted."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def rank(row: Mapping[str, float], criterion: str) -> tuple[float, ...]:
    """Return what is largest for the best epoch by `criterion`; the lower loss breaks ties."""
    name, higher_is_better = METRICS[criterion]
    value = row[f"val_{name}"]
    return (value if higher_is_better else -value), -row["val_loss"]


def best_row(history: Sequence[Row], criterion: str) -> Row:
    """Return the best epoch so far, the first one of equals; the last one where nothing was validated."""
    if "val_loss" not in history[-1]:
        return history[-1]
    return max(history, key=lambda row: rank(row, criterion))


class Recorder:
    """Writes every finished epoch down, and at the end `facts`.

    `snapshot` makes a checkpoint of the fields that change with the epoch.
    """

    def __init__(
        self,
        config: TrainConfig,
        class_labels: Sequence[str],
        work: Unfinished,
        run: Run,
        scalars: Scalars,
        snapshot: Callable[..., Checkpoint],
        facts: Mapping[str, Any],
    ) -> None:
        self._config = config
        self._labels = class_labels
        self._work = work
        self.run = run
        self.scalars = scalars
        self._snapshot = snapshot
        self._facts = facts

    def epoch(self, history: Sequence[Row], learner: Learner, validation: Validation | None) -> None:
        """Write the last epoch of `history`. LAST comes at the end: what is before it is written again otherwise."""
        row, folder = history[-1], self._work.folder
        number = int(row["epoch"])
        improved = []
        if validation is not None:
            self.scalars({f"Val/{name}": value for name, value in validation.scores.items()}, number)
            criteria = {name: criterion or self._config.criterion for name, criterion in BEST.items()}
            improved = [name for name, criterion in criteria.items() if best_row(history, criterion) is row]
            if "best" in improved:
                self._figures(validation, number)
        elif number == self._config.epochs:
            improved = ["best"]
        files = [f"{name}.pt" for name in improved]
        for file in files:
            if file == files[0]:
                save_checkpoint(self._snapshot(epoch=number, metrics=row, **learner.weights()), folder / file)
            else:
                link(folder / files[0], folder / file)
        state = learner.state() | {"history": list(history)}
        last = self._snapshot(epoch=number, metrics=row, training_state=state, **learner.weights())
        save_checkpoint(last, folder / LAST)
        self._work.keep([*files, *((PREDICTIONS, CLASSES) if validation is not None and "best" in improved else ())])

    def _figures(self, validation: Validation, epoch: int) -> None:
        table = class_table(self._labels, validation.classes.classes)
        grid = prediction_grid(validation.pictures, self._labels)
        Image.fromarray(grid).save(self._work.folder / PREDICTIONS, compress_level=1)
        (self._work.folder / CLASSES).write_text(table + "\n", encoding="utf-8")
        self.scalars.predictions(grid, table, epoch)

    def finish(self, history: Sequence[Row]) -> None:
        """Write the facts and the history, and send the best models to MLflow."""
        folder, best = self._work.folder, best_row(history, self._config.criterion)
        chosen = f"{self._config.criterion} on val" if "val_loss" in best else "there is no val split: the last epoch"
        outcome = {"best_epoch": int(best["epoch"]), "best_chosen_by": chosen, "epochs_trained": len(history)}
        write_json({**self._facts, **outcome, "run_id": self.run.run_id}, folder / "config.json")
        write_json(list(history), folder / "history.json")
        for name in BEST:
            if (folder / f"{name}.pt").exists():
                self.run.artifact(folder / f"{name}.pt", name)
        for name in (PREDICTIONS, CLASSES, "config.json", "history.json"):
            if (folder / name).exists():
                self.run.artifact(folder / name)
