"""A training that was interrupted gives the same losses and weights as one that ran through."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from yolo_samples import config

from components.train_yolo.checkpoint import CONTINUATION, read_checkpoint
from components.train_yolo.record import Recorder
from components.train_yolo.train import train

ADAM = {"optimizer": "Adam", "lr": 0.005, "warmup_epochs": 1.0}
STEPS_OVER_EPOCHS = {"nbs": 24, "close_mosaic": 2}
"""A step is three batches, and an epoch is two."""


def go(dataset: Path, output: Path, **entries: Any) -> Path:
    """Train until the export, or until something else interrupts it; return the folder of checkpoints."""
    with pytest.raises(KeyboardInterrupt):
        train(
            config(output.parent / "models", epochs=4, **entries),
            dataset / "images",
            dataset / "annotations.json",
            output,
            output.with_name(f"{output.name}-onnx"),
            name="faces",
        )
    (folder,) = output.parent.glob(f".{output.name}.*.unfinished")
    return folder


def interrupt(*_arguments: Any, **_options: Any) -> None:
    raise KeyboardInterrupt


def history(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "history.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize(
    "entries",
    [
        ADAM | STEPS_OVER_EPOCHS,
        {"optimizer": "SGD", "lr": 0.01, "nbs": 80, "close_mosaic": 1, "mixup": 0.5},
        ADAM | {"task": "classify", "nbs": 24, "dropout": 0.2, "erasing": 0.4},
    ],
    ids=["detector", "before the first step", "classifier"],
)
def test_an_interrupted_training_gives_the_same(
    entries: dict[str, Any], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.train_yolo.train.export", interrupt)
    whole = go(dataset, tmp_path / "whole", **entries)
    saved = Recorder.saved

    def interrupted(self: Recorder, trainer: Any) -> None:
        saved(self, trainer)
        if trainer.epoch in (0, 2):
            interrupt()

    monkeypatch.setattr(Recorder, "saved", interrupted)
    for _ in range(2):
        parts = go(dataset, tmp_path / "parts", **entries)
    monkeypatch.setattr(Recorder, "saved", saved)
    assert go(dataset, tmp_path / "parts", **entries) == parts
    assert history(parts) == history(whole)
    assert len({row["train_loss"] for row in history(whole)}) == 4
    states = [read_checkpoint(folder / "last.pt")[CONTINUATION] for folder in (whole, parts)]
    for kind in ("weights", "average", "gradients"):
        assert states[0][kind].keys() == states[1][kind].keys()
        assert all(torch.equal(value, states[1][kind][name]) for name, value in states[0][kind].items())
    assert states[0]["random"]["python"] == states[1]["random"]["python"]
    best = [read_checkpoint(folder / "best.pt") for folder in (whole, parts)]
    weights = [content["model"].state_dict() for content in best]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert CONTINUATION not in best[0] and best[0].keys() == best[1].keys()
