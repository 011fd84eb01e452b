"""What a training writes: checkpoints, scalars for TensorBoard and MLflow, JSON, and ultralytics' own outputs."""

import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from components.shared.tracking.runs import DEFAULT_EXPERIMENT, Run, open_run, resume_run
from components.shared.training.processes import environment, versions
from components.shared.training.resumable_folder import LAST, ResumableFolder, link
from components.train_yolo.checkpoint import Row, portable, read_checkpoint, rows_of, save_checkpoint, tidy
from components.train_yolo.config import YoloConfig
from components.train_yolo.continuation import with_continuation
from components.train_yolo.data import Data, Unpacked, check_loaded
from components.train_yolo.library import VERSION
from serving.runtime.errors import InputError
from serving.runtime.output import write_text

BEST, CONFIG, HISTORY = "best.pt", "config.json", "history.json"
EPOCH_FILES = (BEST, CONFIG)
BOARD = "tensorboard"
OWN = "ultralytics"
"""The folder in which ultralytics writes."""

_METRICS = {
    "metrics/mAP50(B)": "Val/map50",
    "metrics/mAP50-95(B)": "Val/map50_95",
    "metrics/precision(B)": "Val/precision",
    "metrics/recall(B)": "Val/recall",
    "metrics/accuracy_top1": "Val/accuracy",
    "lr/pg0": "Train/learning_rate",
}
_LOSSES = {"train/": "Train/", "val/": "Val/"}
_SHOWN = ("Train/loss", "Val/loss", "Val/map50", "Val/map50_95", "Val/accuracy")
"""What of an epoch is logged; all of it is in TensorBoard, MLflow and history.json."""

_NO_MORE_TRIES = 3
_ADVICE = "lower lr, with an optimizer that is named, or set amp to false"

log = logging.getLogger(__name__)


def scalars_of(row: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers of an epoch by the names that all trainings here use, from a row of ultralytics' results.

    `Train/loss` and `Val/loss` are the sums of the parts of ultralytics' loss.
    """
    values: dict[str, float] = {}
    for prefix, name in _LOSSES.items():
        parts = {name + key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
        values |= parts | {f"{name}loss": sum(parts.values())}
    return values | {name: row[key] for key, name in _METRICS.items() if key in row}


def history_of(rows: Sequence[Row]) -> list[Row]:
    """Return the epochs, each `epoch`, train_loss, val_loss, val_map50, ..., from the rows of ultralytics' results."""
    return [
        {"epoch": row["epoch"]} | {name.lower().replace("/", "_"): value for name, value in scalars_of(row).items()}
        for row in rows
    ]


def experiment_of(config: YoloConfig) -> str:
    """Return the MLflow experiment of trainings with a configuration, where none is named."""
    return f"{DEFAULT_EXPERIMENT}-{config.label_space or 'face_detection'}"


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that weights depend on."""
    return versions() | {"ultralytics": VERSION}


@contextmanager
def open_recorder(
    config: YoloConfig,
    data: Data,
    unpacked: Unpacked,
    folder: ResumableFolder,
    *,
    device: str,
    run_id: str,
    epoch: int,
    experiment: str,
    run_name: str,
) -> Iterator["Recorder"]:
    """Open the MLflow run, that called `run_id` if there is one; the training continues after `epoch`."""
    machine = environment(torch.device("cpu" if device == "cpu" else "cuda:" + device.split(",", 1)[0]))
    metadata = {
        "config": config.model_dump(mode="json"),
        "dataset_digest": data.digest,
        "training_digest": config.digest(data.digest),
        "leaks": data.leaks,
        "versions": library_versions(),
        "data": unpacked.counts,
        "cropped": data.cropped,
        "environment": machine,
    }
    info = data.annotations.info
    tags = {
        "mlflow.user": config.user,
        "mlflow.source.git.commit": machine.get("git_revision"),
        "mlflow.note.content": description(config, data, unpacked),
    }
    with open_run(
        experiment or experiment_of(config),
        run_name=f"{run_name} {Path(config.model).stem} {config.label_space or 'face'}".strip(),
        params={**metadata, "source": info.parameters()},
        tags={name: value for name, value in tags.items() if value},
        run_id=run_id,
        part=bool(run_name),
        tolerant=True,
    ) as run:
        run.dataset(
            PurePosixPath(info.source or "").name or config.label_space or "faces",
            data.digest,
            info.source or "unknown",
            {**unpacked.counts, **info.counts.record()},
        )
        recorder = Recorder(folder, run.run_id, metadata, unpacked.address, epoch + 1)
        try:
            yield recorder
        finally:
            recorder.close()


def description(config: YoloConfig, data: Data, unpacked: Unpacked) -> str:
    """Return what a training is, in words: the text at the top of its page in MLflow."""
    info, faces = data.annotations.info, unpacked.counts["faces"]
    kind = "detector" if config.task == "detect" else "classifier"
    return (
        f"{kind} {config.model} for {', '.join(config.labels)}, {config.epochs} epochs at most, with ultralytics "
        f"{VERSION}.\n\nData: {info.source or 'unknown'} ({info.format or 'annotations'}), {faces['train']} faces to "
        f"train on, {faces['val']} to choose the epoch{', leaks' if data.leaks else ''}."
    )


@dataclass
class Recorder:
    """Writes every finished epoch, and at the end the metadata and the history.

    Its methods are callbacks of ultralytics, which may run in a process of its own: whatever is open is opened there.

    Attributes:
        folder: of the training.
        run_id: the MLflow run.
        metadata: the content of config.json.
        address: of the unpacked data set.
        first_epoch: what an earlier, killed process wrote to TensorBoard from it on is purged.
    """

    folder: ResumableFolder
    run_id: str
    metadata: Mapping[str, Any]
    address: Path
    first_epoch: int
    _board: SummaryWriter | None = None
    _run: Run | None = None

    def attach(self, trainer: Any) -> None:
        """Have everything written that a trainer does."""
        trainer.add_callback("on_pretrain_routine_end", self.loaded)
        trainer.add_callback("on_train_epoch_start", _forbid_smaller_batches)
        trainer.add_callback("on_train_epoch_end", _check_finite)
        trainer.add_callback("on_model_save", self.saved)

    def loaded(self, trainer: Any) -> None:
        """Compare the loaded data with what was unpacked."""
        for split, loader in (("train", trainer.train_loader), ("val", trainer.test_loader)):
            dataset = loader.dataset
            if trainer.args.task == "detect":
                faces = sum(len(label["cls"]) for label in dataset.labels)
                check_loaded(self.address, split, dataset.im_files, faces)
            else:
                check_loaded(self.address, split, [sample[0] for sample in dataset.samples])

    def saved(self, trainer: Any) -> None:
        """Write an epoch. LAST completes it: ultralytics' own last.pt, and what that lacks."""
        numbers = scalars_of({**trainer.label_loss_items(trainer.tloss), **trainer.metrics, **trainer.lr})
        epoch, path = trainer.epoch + 1, self.folder.path
        if infinite := [name for name, value in numbers.items() if not math.isfinite(value)]:
            raise InputError(f"{', '.join(infinite)} is no longer finite in epoch {epoch}: {_ADVICE}")
        shown = (f"{name} {numbers[name]:.4g}" for name in _SHOWN if name in numbers)
        log.info("epoch %d: %s", epoch, " ".join(shown))
        board = self._opened_board()
        for name, value in numbers.items():
            board.add_scalar(name, value, epoch)
        self._tracked().metrics(numbers, epoch)
        write_json(path / CONFIG, {**self.metadata, "run_id": self.run_id})
        save_checkpoint(with_continuation(read_checkpoint(trainer.last), trainer), path / LAST)
        better = trainer.best_fitness == trainer.fitness
        if better:
            link(path / LAST, path / BEST)
        self.folder.keep([CONFIG, *([BEST] if better else [])])

    def finish(self) -> Row:
        """Write config.json, history.json and the final checkpoints, and send them to MLflow; return the best epoch."""
        path = self.folder.path
        best = history_of(rows_of(read_checkpoint(path / BEST)))[-1]
        history = history_of(rows_of(read_checkpoint(path / LAST)))
        outcome = {
            "best_epoch": int(best["epoch"]),
            "best_chosen_by": "ultralytics' fitness on val",
            "epochs_trained": len(history),
        }
        write_json(path / CONFIG, {**self.metadata, **outcome, "run_id": self.run_id})
        write_json(path / HISTORY, history)
        tidy(path / LAST, final=False)
        tidy(path / BEST, final=True)
        tidy_outputs(path / OWN)
        run = self._tracked()
        run.artifact(path / BEST, Path(BEST).stem)
        run.artifact(path / OWN, OWN)
        for name in (CONFIG, HISTORY):
            run.artifact(path / name)
        return best

    def close(self) -> None:
        """Write what is buffered."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _opened_board(self) -> SummaryWriter:
        if self._board is None:
            purge = self.first_epoch if self.first_epoch > 1 else None
            self._board = SummaryWriter(str(self.folder.path / BOARD), purge_step=purge)
        return self._board

    def _tracked(self) -> Run:
        if self._run is None:
            self._run = resume_run(self.run_id, tolerant=True)
        return self._run


def tidy_outputs(folder: Path) -> None:
    """Leave of what ultralytics has written all but its checkpoints, and no paths of this machine."""
    shutil.rmtree(folder / "weights", ignore_errors=True)
    arguments = folder / "args.yaml"
    if arguments.exists():
        options = yaml.safe_load(arguments.read_text(encoding="utf-8"))
        write_text(arguments, yaml.safe_dump(portable(options), sort_keys=True))


def write_json(path: Path, content: Any) -> None:
    """Write JSON, the whole of it or nothing."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def _check_finite(trainer: Any) -> None:
    """End the training where its loss is no longer finite; ultralytics would try the epoch again."""
    if not all(math.isfinite(float(value)) for value in trainer.tloss.values()):
        raise InputError(f"the loss is no longer finite in epoch {trainer.epoch + 1}: {_ADVICE}")


def _forbid_smaller_batches(trainer: Any) -> None:
    """Make a lack of memory an error; ultralytics would halve the batch, which makes another training of it."""
    trainer._oom_retries = _NO_MORE_TRIES
