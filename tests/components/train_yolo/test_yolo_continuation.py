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


def go(dataset: Path, output: Path, **entries: Any) -> list[dict[str, float]]:
    train(
        config(output.parent / "models", epochs=4, **entries),
        dataset / "images",
        dataset / "annotations.json",
        output,
        output.with_name(f"{output.name}-onnx"),
        name="faces",
    )
    history: list[dict[str, float]] = json.loads((output / "history.json").read_text())
    return history


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
    whole = go(dataset, tmp_path / "whole", **entries)
    saved = Recorder.saved
    for _ in range(3):

        def interrupted(self: Recorder, trainer: Any) -> None:
            saved(self, trainer)
            raise KeyboardInterrupt

        monkeypatch.setattr(Recorder, "saved", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(dataset, tmp_path / "parts", **entries)
    monkeypatch.setattr(Recorder, "saved", saved)
    assert go(dataset, tmp_path / "parts", **entries) == whole
    assert len({row["train_loss"] for row in whole}) == len(whole) == 4
    whole_state, state = (read_checkpoint(tmp_path / name / "last.pt")[CONTINUATION] for name in ("whole", "parts"))
    for kind in ("weights", "average", "gradients"):
        assert whole_state[kind].keys() == state[kind].keys()
        assert all(torch.equal(value, state[kind][name]) for name, value in whole_state[kind].items())
    assert whole_state["random"]["python"] == state["random"]["python"]
    assert (tmp_path / "whole/best.pt").read_bytes() == (tmp_path / "parts/best.pt").read_bytes()
    assert CONTINUATION not in read_checkpoint(tmp_path / "parts/best.pt")
