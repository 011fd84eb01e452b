"""Trains in a process of its own and kills it at a place.

    python yolo_process.py DATA OUTPUT OPTIONS_JSON PLACE EPOCH

PLACE is one of PLACES, or "" for no kill; EPOCH counts from 1.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_samples import config

from components.train_yolo import data, record, train
from components.train_yolo.trainers import _Continuing


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def while_unpacking(_epoch: int) -> None:
    """Half of the pictures are there."""
    write = data.export_yolo_detection

    def half(folder: Path, chosen: list[Any], *arguments: Any, **options: Any) -> Any:
        write(folder, chosen[: len(chosen) // 2], *arguments, **options)
        die()

    data.export_yolo_detection = half


def while_ultralytics_writes(epoch: int) -> None:
    """Its last.pt, which it writes in place, is half there."""
    write = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        if self.name == "last.pt" and (self.parent / "last.pt").exists() and rows(self) == epoch:
            write(self, content[: len(content) // 2])
            die()
        return write(self, content)

    def rows(path: Path) -> int:
        return len((path.parents[1] / "results.csv").read_text().splitlines()) - 1

    Path.write_bytes = half  # type: ignore[method-assign]


def while_copying(epoch: int) -> None:
    """Half of our checkpoint is there."""
    write = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        if ".last.pt" in self.name and json_epochs(self.parent) >= epoch - 1:
            write(self, content[: len(content) // 2])
            die()
        return write(self, content)

    Path.write_bytes = half  # type: ignore[method-assign]


def json_epochs(folder: Path) -> int:
    return len((folder / "ultralytics/results.csv").read_text().splitlines()) - 2


def between_last_and_best(epoch: int) -> None:
    """The epoch is complete, and the best one so far, which is not written yet."""
    link = record.link

    def later(source: Path, target: Path) -> None:
        if json_epochs(target.parent) >= epoch - 1:
            die()
        link(source, target)

    record.link = later


def before_the_last_validation(_epoch: int) -> None:
    """All epochs are there, and nothing that follows them."""
    _Continuing.final_eval = lambda _self: die()  # type: ignore[attr-defined]


def before_the_export(_epoch: int) -> None:
    """The checkpoints are complete, in the folder of the unfinished training."""
    train.export = lambda *_arguments, **_options: die()


def after_the_export(_epoch: int) -> None:
    """One output is there, and the other is not."""
    write = train.export

    def last(*arguments: Any, **options: Any) -> Any:
        write(*arguments, **options)
        die()

    train.export = last


PLACES: dict[str, Callable[[int], None]] = {
    place.__name__: place
    for place in (
        while_unpacking,
        while_ultralytics_writes,
        while_copying,
        between_last_and_best,
        before_the_last_validation,
        before_the_export,
        after_the_export,
    )
}

if __name__ == "__main__":
    folder, output, options, place, epoch = sys.argv[1:]
    if place:
        PLACES[place](int(epoch))
    train.train(
        config(Path(folder), **json.loads(options)),
        Path(folder, "images"),
        Path(folder, "annotations.json"),
        Path(output),
        Path(f"{output}_onnx"),
        name="faces",
    )
