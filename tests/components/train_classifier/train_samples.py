"""A tiny data set, a tiny training on it, and a process that trains and is killed.

    python train_samples.py DATA PLANS_JSON

does one plan after the other: [output, settings, kills] trains once for every kill, and then to the end. A kill is
[place, count]: it comes when the training is at one of PLACES for the count-th time; or a number: it comes after that
share of the time that the first plan with these settings took, which should have no kills.
"""

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo
from components.shared.models import checkpoint
from components.shared.models.checkpoint import Checkpoint
from components.shared.training.processes import Processes
from components.shared.training.resumable_folder import ResumableFolder
from components.train_classifier import loop, record, train
from components.train_classifier.config.training import IMAGENET, TrainConfig, resolve_config
from components.train_classifier.data.faces import Sample, read_data
from components.train_classifier.learner import Learner, new_learner

MASKS = ("worn", "incorrect", "absent")

PLAIN = "train_samples:Plain"
Run = Callable[..., Path]


def draw(mask: int, rng: np.random.Generator) -> bytes:
    """A face of noise whose lower half is covered wholly, a little or not at all."""
    canvas = PilImage.fromarray(rng.integers(60, 120, (44, 36, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(canvas)
    pen.ellipse((4, 4, 32, 40), fill=(220, 180, 150))
    if mask < 2:
        pen.rectangle((6, 20 if mask == 0 else 32, 30, 40), fill=(70, 130, 240))
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_dataset(folder: Path) -> None:
    """37 faces: 25 train, one of them without a label of mask, 9 val, and 3 test ones whose pictures do not exist."""
    rng = np.random.default_rng(0)
    images = []
    with ArchiveWriter(folder / "images") as writer:
        for number in range(37):
            mask = number % 3
            split = "train" if number < 24 or number == 36 else "val" if number < 33 else "test"
            attributes: dict[str, Any] = {
                "mask": MASKS[mask],
                "gender": ("male", "female")[number % 2],
                "age": 20 + number,
            }
            if number == 36:
                del attributes["mask"]
            if split != "test":
                writer.add(f"{number}.jpg", draw(mask, rng))
            face = Face(number + 1, (4.0, 4.0, 28.0, 36.0), attributes)
            images.append(Image(number + 1, f"{number}.jpg", 36, 44, (face,), person=str(number), split=split))
    write_annotations(Annotations(tuple(images), DatasetInfo(leaks=False)), folder / "annotations.json")


def config(**entries: Any) -> TrainConfig:
    """A training of a second on `write_dataset`'s faces."""
    tiny: Mapping[str, Any] = {
        "label_space": "mask",
        "model": "base",
        "epochs": 2,
        "batch_size": 8,
        "image_height": 32,
        "image_width": 32,
        "workers": 0,
        "log_interval": 2,
    }
    return resolve_config(tiny, **entries)


class Plain(torch.nn.Module):
    """A network without batch norm and dropout: what a face gives does not depend on its neighbors."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 5, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 3, 2), torch.nn.ReLU()
        )
        self.fc = torch.nn.Linear(32, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.features(images).mean(dim=(2, 3)))
        return logits


def history(folder: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((folder / "history.json").read_text())
    return rows


def learner_of(dataset: Path, **entries: Any) -> Learner:
    settings = config(**entries)
    data = read_data(settings, dataset / "annotations.json")
    counts = [target.sum(axis=0) for target in data.train.targets]
    return new_learner(settings, data.heads, IMAGENET, counts, 3, device=torch.device("cpu"), processes=Processes())


def labels_of(faces: list[Sample]) -> dict[str, NDArray[np.int64]]:
    """The indices of mask, gender and age of every face."""
    known = [face.attributes for face in faces]
    return {
        "mask": np.array([MASKS.index(face["mask"]) if "mask" in face else -1 for face in known]),
        "gender": np.array([("male", "female").index(face["gender"]) for face in known]),
        "age": np.array([(face["age"] >= 30) + (face["age"] >= 60) for face in known]),
    }


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    """Bit by bit, the moving averages too."""
    pairs = [(one.model_state, other.model_state), (one.ema_state or {}, other.ema_state or {})]
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dying(function: Callable[..., Any], count: int, death: Callable[..., None]) -> Callable[..., Any]:
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            death(*arguments)
        return function(*arguments, **named)

    return call


def _half_a_file(content: Any, path: Path) -> None:
    path.write_bytes(b"PK half a checkpoint")
    _die()


PLACES: dict[str, tuple[Any, str, Callable[..., None]]] = {
    "step": (loop, "take_step", lambda *_: _die()),
    "file": (checkpoint.torch, "save", _half_a_file),
    "epoch": (record, "save_checkpoint", lambda *_: _die()),
    "name": (record, "link", lambda *_: _die()),
    "keep": (ResumableFolder, "keep", lambda *_: _die()),
    "end": (train, "best_row", lambda *_: _die()),
}
"""Name -> what is replaced by a function that dies."""


def main(data: str, plans: str) -> None:
    """See the module."""
    seconds: dict[str, float] = {}
    for output, settings, kills in json.loads(plans):
        start = time.monotonic()
        for kill in [*kills, None]:
            child = os.fork()
            if child == 0:
                _train(Path(data), Path(output), settings, kill)
            if isinstance(kill, float):
                time.sleep(kill * seconds[str(settings)])
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            assert kill is not None or status == 0
            if isinstance(kill, list):
                assert os.WIFSIGNALED(status), f"{kill}: the training did not come there"
            if Path(output).exists():
                break
        seconds.setdefault(str(settings), time.monotonic() - start)


def _train(data: Path, output: Path, settings: dict[str, Any], kill: Any) -> None:
    if isinstance(kill, list):
        owner, name, death = PLACES[kill[0]]
        setattr(owner, name, _dying(getattr(owner, name), kill[1], death))
    try:
        train.train(config(**settings), data / "images", data / "annotations.json", output)
    finally:
        os._exit(int(not output.exists()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
