"""The checkpoints of a training: read, compared, and rid of what is of this machine and moment."""

import csv
import io
from pathlib import Path
from typing import Any

import torch

from components.shared.models.weights_file import check_archive
from components.train_yolo.library import tasks
from serving.runtime.errors import InputError
from serving.runtime.output import whole_file

Row = dict[str, float]
Checkpoint = dict[str, Any]

CONTINUATION = "continuation"
"""The entry of a checkpoint that is added to those of ultralytics, see `continuation`."""

_OF_A_MACHINE = ("data", "save_dir", "project", "name", "device", "workers")
_OF_A_MOMENT = ("date", "git")
_SECONDS = "time"
_OF_TRAINING = ("optimizer", "scaler", "updates", "best_fitness", "stopper", CONTINUATION)


def read_checkpoint(path: Path, source: str = "") -> Checkpoint:
    """Read a checkpoint of a training, always with the allow-list of classes.

    Raises InputError, naming `source` or else the path, when it is none.
    """
    source = f"{source}: {path.name}" if source else str(path)
    check_archive(path, source)
    try:
        content, _ = tasks.torch_safe_load(path)
    except Exception as error:  # torch.load has no common error type for foreign, cut or unsafe files
        raise InputError(
            f"{source}: is no checkpoint of ultralytics that can be read: {reason_of(error, path)}"
        ) from error
    if not isinstance(content.get("epoch"), int) or "train_metrics" not in content:
        raise InputError(f"{source}: is no checkpoint of a training here; name a folder that train_yolo wrote")
    return content  # type: ignore[no-any-return]


def reason_of(error: Exception, path: Path) -> str:
    """Return the first sentence of an error of ultralytics, without the path of the file."""
    return str(error).split("\n", 1)[0].removeprefix("ERROR ❌️ ").removeprefix(str(path)).split(". ")[0].strip()


def check_continues(checkpoint: Checkpoint, source: str) -> None:
    """Raise InputError when there is nothing in a checkpoint that a training continues from."""
    if (
        any(not checkpoint.get(name) for name in ("optimizer", "stopper", CONTINUATION))
        or checkpoint.get("ema") is None
    ):
        raise InputError(f"{source}: has no training state; name the last.pt of a folder that train_yolo wrote")


def rows_of(checkpoint: Checkpoint) -> list[Row]:
    """Return the rows of ultralytics' table of results, one for each epoch until that of the checkpoint."""
    columns: dict[str, list[float]] = checkpoint["train_results"]
    rows = [dict(zip(columns, map(float, values), strict=True)) for values in zip(*columns.values(), strict=True)]
    return [row for row in rows if row["epoch"] <= checkpoint["epoch"] + 1]


def is_best(checkpoint: Checkpoint) -> bool:
    """Tell whether no earlier epoch was better."""
    return bool(checkpoint["train_metrics"]["fitness"] == checkpoint["best_fitness"])


def has_stopped(checkpoint: Checkpoint, epochs: int, patience: int) -> bool:
    """Tell whether a training ends after the epoch of the checkpoint: it was the last one, or patience has ended."""
    epoch = checkpoint["epoch"] + 1
    return epoch >= epochs or (patience > 0 and epoch - checkpoint["stopper"]["best_epoch"] >= patience)


def write_results(rows: list[Row], path: Path) -> None:
    """Write ultralytics' table of results as it does."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint: the whole of it, or nothing. Its bytes do not depend on the name of the file."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    with whole_file(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def tidy(path: Path, *, final: bool) -> None:
    """Rid a checkpoint of paths, device and date. With `final` of the state of the training too.

    ultralytics reads the result like every other one.
    """
    content = read_checkpoint(path)
    for name in _OF_A_MOMENT:
        content.pop(name, None)
    arguments = portable(content["train_args"])
    network = content["ema"] or content["model"]
    network.args, network.pt_path = arguments, None
    if final:
        for name in _OF_TRAINING:
            content.pop(name, None)
        content["train_results"].pop(_SECONDS, None)
        content |= {"model": network, "ema": None}
        for parameter in network.parameters():
            parameter.requires_grad = False
    save_checkpoint(content | {"train_args": arguments}, path)


def portable(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a training without those that name this machine."""
    return {name: None if name in _OF_A_MACHINE else value for name, value in arguments.items()}
