"""What a training writes: checkpoints, scalars for TensorBoard and MLflow, tables and pictures of predictions, JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.utils.tensorboard import SummaryWriter

from components.shared.metrics.classification import ClassScore
from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.report.confusion import confusion_picture
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, Run, open_run
from components.shared.training.processes import environment, versions
from components.shared.training.resumable_folder import LAST, ResumableFolder, link
from components.train_classifier.config.objective import METRICS, Metric
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.faces import Data
from components.train_classifier.loop import Row, Training, Validation

BEST: dict[str, Metric | None] = {"best": None, "best_f1": "f1", "best_acc": "acc"}
"""The checkpoints of best epochs, and the criterion that chooses them; None: that of the configuration."""

PREDICTIONS, CONFUSION, CLASSES = "predictions.png", "confusion_matrix.png", "classes.txt"
_OF_BEST_EPOCH = (PREDICTIONS, CONFUSION, CLASSES)
EPOCH_FILES = (*_OF_BEST_EPOCH, *(f"{name}.pt" for name in BEST))

_OTHERS = tuple(f"{name}.pt" for name, criterion in BEST.items() if criterion is not None)
DROPPED = {"all": (), "best_and_last": _OTHERS, "best": (*_OTHERS, LAST)}
"""By `keep_checkpoints`: the checkpoints that a complete training does not leave."""

_GRID = 4
EXAMPLES = _GRID * _GRID
"""How many predictions a grid shows."""

_CELL = 112
_LINE = 14


class Scalars:
    """Sends named numbers to TensorBoard event files in a folder and to an MLflow run."""

    def __init__(self, folder: Path, run: Run, *, first_step: int = 1) -> None:
        """Open the event file. What an earlier, killed process wrote from `first_step` on is purged."""
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


def best_row(history: Sequence[Row], criterion: str) -> Row:
    """Return the best epoch so far; the lower loss breaks ties, then the first; the last one without validation."""
    if "val_loss" not in history[-1]:
        return history[-1]
    name, higher_is_better = METRICS[criterion]
    sign = 1 if higher_is_better else -1
    return max(history, key=lambda row: (sign * row[f"val_{name}"], -row["val_loss"]))


def experiment_of(data: Data) -> str:
    """Return the MLflow experiment of trainings on the data, where none is named."""
    return f"{DEFAULT_EXPERIMENT}-{data.space.name}"


@contextmanager
def open_recorder(
    training: Training, folder: ResumableFolder, start: Checkpoint | None, *, experiment: str, run_name: str
) -> Iterator["Recorder"]:
    """Open the MLflow run and the event file; `start` is the checkpoint from which the training continues."""
    config, data = training.config, training.data
    provenance = {
        "config": config.model_dump(mode="json"),
        "dataset_digest": data.digest,
        "training_digest": config.digest(data.digest),
        "leaks": data.leaks,
        "versions": versions(),
    }
    machine = environment(training.learner.device)
    metadata = {
        **provenance,
        **data.counts(),
        "cropped": data.cropped,
        "environment": machine,
        "normalization": training.normalization.model_dump(mode="json"),
    }
    tags = {
        "mlflow.user": config.user,
        "mlflow.source.git.commit": machine.get("git_revision"),
        "mlflow.note.content": description(config, data),
    }
    same_training = start is not None and start.training_digest == provenance["training_digest"]
    first_step = len(training.history) * training.steps_per_epoch + 1
    with (
        open_run(
            experiment or experiment_of(data),
            run_name=run_name or f"{config.model} {data.space.name}",
            params={**metadata, "data": data.annotations.info.parameters()},
            tags={name: value for name, value in tags.items() if value},
            run_id=start.run_id if start is not None and same_training else "",
            part=bool(run_name),
            tolerant=True,
        ) as run,
        closing(Scalars(folder.path / "tensorboard", run, first_step=first_step)) as scalars,
    ):
        info = data.annotations.info
        run.dataset(
            PurePosixPath(info.source or "").name or data.space.name,
            data.digest,
            info.source or "unknown",
            {**data.counts(), **info.counts.record()},
        )
        yield Recorder(training, folder, run, scalars, provenance, metadata)


def description(config: TrainConfig, data: Data) -> str:
    """Return what a training is, in words: the text at the top of its page in MLflow."""
    info = data.annotations.info
    curation = ", ".join(step.operation for step in info.curation) or "none"
    mode = info.split.mode if info.split is not None and info.split.mode else "of the data"
    return (
        f"{config.model} for {data.space.name}, {config.epochs} epochs at most.\n\n"
        f"Data: {info.source or 'unknown'} ({info.format or 'annotations'}), {len(data.train.labeled)} faces to train "
        f"on, {len(data.val.labeled)} to choose the epoch. Curation: {curation}. Split: {mode}"
        f"{', leaks' if data.leaks else ''}."
    )


@dataclass(frozen=True)
class Recorder:
    """Writes every finished epoch, and at the end the metadata and the history.

    `provenance` are fields of every checkpoint, `metadata` is the content of config.json.
    """

    training: Training
    folder: ResumableFolder
    run: Run
    scalars: Scalars
    provenance: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def epoch(self, validation: Validation | None) -> None:
        """Write the last epoch of the history. LAST comes at the end: until then the epoch does not count."""
        config, history, path = self.training.config, self.training.history, self.folder.path
        row = history[-1]
        number = int(row["epoch"])
        improved = []
        if validation is not None:
            self.scalars({f"Val/{name}": value for name, value in validation.scores.items()}, number)
            criteria = {name: criterion or config.criterion for name, criterion in BEST.items()}
            improved = [name for name, criterion in criteria.items() if best_row(history, criterion) is row]
            if "best" in improved:
                self._write_predictions(validation, number)
        elif number == config.epochs:
            improved = ["best"]
        files = [f"{name}.pt" for name in improved]
        if files:
            save_checkpoint(self._checkpoint(row), path / files[0])
        for file in files[1:]:
            link(path / files[0], path / file)
        state = self.training.learner.state() | {"history": list(history)}
        save_checkpoint(self._checkpoint(row, state), path / LAST)
        self.folder.keep([*files, *(_OF_BEST_EPOCH if validation is not None and "best" in improved else ())])

    def _checkpoint(self, row: Row, training_state: dict[str, Any] | None = None) -> Checkpoint:
        config, data, learner = self.training.config, self.training.data, self.training.learner
        return Checkpoint(
            model=config.spec,
            label_space=data.space.name,
            heads=data.heads,
            input=config.input,
            crop=config.crop,
            normalization=self.training.normalization,
            epoch=int(row["epoch"]),
            metrics=row,
            run_id=self.run.run_id,
            training_state=training_state,
            **learner.weights(),
            **self.provenance,
        )

    def _write_predictions(self, validation: Validation, epoch: int) -> None:
        labels = self.training.data.space.class_labels
        table = class_table(labels, validation.classes.classes)
        grid = prediction_grid(validation.pictures, labels)
        Image.fromarray(grid).save(self.folder.path / PREDICTIONS, compress_level=1)
        confusion = confusion_picture(labels, validation.classes.confusion)
        Image.fromarray(confusion).save(self.folder.path / CONFUSION)
        (self.folder.path / CLASSES).write_text(table + "\n", encoding="utf-8")
        self.scalars.predictions(grid, table, epoch)

    def finish(self) -> None:
        """Write config.json and history.json, drop checkpoints, and send the best models to MLflow."""
        path, criterion, history = self.folder.path, self.training.config.criterion, self.training.history
        best = best_row(history, criterion)
        chosen = f"{criterion} on val" if "val_loss" in best else "there is no val split: the last epoch"
        outcome = {"best_epoch": int(best["epoch"]), "best_chosen_by": chosen, "epochs_trained": len(history)}
        contents: dict[str, Any] = {
            "config.json": {**self.metadata, **outcome, "run_id": self.run.run_id},
            "history.json": list(history),
        }
        for name, content in contents.items():
            text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
            (path / name).write_text(text + "\n", encoding="utf-8")
        for name in DROPPED[self.training.config.keep_checkpoints]:
            (path / name).unlink(missing_ok=True)
        for name in BEST:
            if (path / f"{name}.pt").exists():
                self.run.artifact(path / f"{name}.pt", name)
        for name in (*_OF_BEST_EPOCH, *contents):
            if (path / name).exists():
                self.run.artifact(path / name)


def class_table(labels: Sequence[str], classes: Sequence[ClassScore]) -> str:
    """Return lines with the number of faces of every class and of correct ones; X where there are none."""
    width = max(len("class"), *(len(label) for label in labels))
    lines = [f"{'class':<{width}}  correct  total  accuracy"]
    for label, score in zip(labels, classes, strict=True):
        correct = round(score.recall * score.support)
        accuracy = f"{score.recall:.4f}" if score.support else "X"
        lines.append(f"{label:<{width}}  {correct:>7}  {score.support:>5}  {accuracy:>8}")
    return "\n".join(lines)


def example_indices(count: int) -> list[int]:
    """Return up to EXAMPLES indices, evenly distributed over 0..count-1."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(EXAMPLES, count))})


def prediction_grid(pictures: Sequence[tuple[NDArray[np.uint8], int, int]], labels: Sequence[str]) -> NDArray[np.uint8]:
    """Draw up to 16 pictures uint8 (h,w,3) RGB in 4 rows, each above its true class and the predicted one.

    The latter is green where it is right and red otherwise; a label of several attributes takes as many lines. Returns
    uint8 (H,W,3), of one size for a label space.
    """
    lines = 1 + max(label.count("/") for label in labels)
    cell_height = _CELL + _LINE * 2 * lines + 6
    sheet = Image.new("RGB", (_GRID * _CELL, _GRID * cell_height), "white")
    pen = ImageDraw.Draw(sheet)
    for cell, (pixels, truth, guess) in enumerate(pictures[:EXAMPLES]):
        left, top = cell % _GRID * _CELL, cell // _GRID * cell_height
        picture = Image.fromarray(pixels)
        picture.thumbnail((_CELL - 4, _CELL - 4))
        sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        text = [(f"is {labels[truth]}", "black"), (f"got {labels[guess]}", "green" if guess == truth else "red")]
        for row, (title, color) in enumerate(text):
            pen.multiline_text((left + 4, top + _CELL + row * _LINE * lines), title.replace("/", "\n  "), fill=color)
    return np.asarray(sheet)
