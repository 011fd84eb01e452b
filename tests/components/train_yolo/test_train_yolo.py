"""Training with ultralytics: what it writes, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from yolo_samples import EMOTIONS, SPACE, config

from components.train_yolo import record
from components.train_yolo.checkpoint import read_checkpoint
from components.train_yolo.config import NMS_IOU
from components.train_yolo.train import YoloResult, train
from components.train_yolo.weights import read_model
from serving.runtime.card import METADATA_KEY, read_card
from serving.runtime.errors import InputError

FOLDERS = {"best.pt", "last.pt", "config.json", "history.json", "tensorboard", "ultralytics"}
Go = Callable[..., YoloResult]


@pytest.fixture
def go(dataset: Path, tmp_path: Path) -> Go:
    """A function that trains with the entries of a config into `out` and `onnx`."""

    def call(output: str = "out", *, name: str = "faces", experiment: str = "", **entries: Any) -> YoloResult:
        return train(
            config(tmp_path / "models", **entries),
            dataset / "images",
            dataset / "annotations.json",
            tmp_path / output,
            tmp_path / f"{output}-onnx",
            name=name,
            experiment=experiment,
        )

    return call


def test_a_detector_is_complete(detector: tuple[Path, YoloResult], dataset: Path) -> None:
    folder, result = detector
    checkpoints = folder / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == FOLDERS
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "exported", "models"]
    history = json.loads((checkpoints / "history.json").read_text())
    facts = json.loads((checkpoints / "config.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2] and facts["epochs_trained"] == 2
    best = history[result.best_epoch - 1]
    assert result.metrics == {name: value for name, value in best.items() if name != "epoch"}
    assert {"val_map50", "val_map50_95", "val_precision", "val_recall", "val_loss", "train_loss"} <= best.keys()
    assert facts["data"] == {
        "images": {"train": 16, "val": 8}, "faces": {"train": 21, "val": 11}, "left_out": {}
    }  # fmt: skip
    model: Any = read_model(checkpoints / "best.pt")
    assert model.names == {0: "face"} and model.args["imgsz"] == 64
    card = read_card(
        next(
            entry.value
            for entry in onnx.load(folder / "exported/model.onnx").metadata_props
            if entry.key == METADATA_KEY
        ),
        "x",
    )
    assert card.task == "detection" and card.labels == ("face",) and card.name == "faces"
    assert (card.dataset_digest, card.training_digest) == (facts["dataset_digest"], facts["training_digest"])
    assert (card.thresholds.score, card.thresholds.nms_iou, card.thresholds.max_detections) == (0.25, NMS_IOU, 300)
    assert card.versions["ultralytics"] == facts["versions"]["ultralytics"]


def test_the_outputs_of_ultralytics_are_kept_without_paths(detector: tuple[Path, YoloResult]) -> None:
    own = detector[0] / "checkpoints/ultralytics"
    names = {path.name for path in own.iterdir()}
    assert {"args.yaml", "results.csv", "results.png", "labels.jpg", "train_batch0.jpg", "BoxPR_curve.png"} <= names
    assert "weights" not in names
    options = yaml.safe_load((own / "args.yaml").read_text())
    assert options["imgsz"] == 64 and options["data"] is None
    assert str(detector[0]) not in (own / "args.yaml").read_text()
    assert len((own / "results.csv").read_text().splitlines()) == 3
    for name in ("best.pt", "last.pt"):
        checkpoint = read_checkpoint(detector[0] / "checkpoints" / name)
        assert str(detector[0].parent) not in repr(checkpoint)


def test_tensorboard_has_the_names_of_all_trainings(detector: tuple[Path, YoloResult]) -> None:
    board = EventAccumulator(str(detector[0] / "checkpoints/tensorboard")).Reload()
    names = set(board.Tags()["scalars"])
    assert {"Train/loss", "Train/learning_rate", "Val/loss", "Val/map50", "Val/map50_95", "Val/precision"} <= names
    assert [event.step for event in board.Scalars("Val/map50")] == [1, 2]


def test_the_process_is_as_before(detector: tuple[Path, YoloResult]) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.save.__module__ == "torch.serialization"


def test_a_classifier_is_told_to_mlflow_and_is_the_same_again(
    go: Go, tmp_path: Path, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    result = go(task="classify", name="emotions", user="someone")
    client = MlflowClient()
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == f"facet-{SPACE}"
    assert [metric.step for metric in client.get_metric_history(result.run_id, "Val/accuracy")] == [1, 2]
    assert {"Train/loss", "Val/loss", "Val/accuracy", "Train/learning_rate"} == run.data.metrics.keys()
    assert {file.path for file in client.list_artifacts(result.run_id)} == {
        "best", "config.json", "history.json", "ultralytics"
    }  # fmt: skip
    model: Any = read_model(tmp_path / "out/best.pt")
    assert model.names == dict(enumerate(EMOTIONS))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    again = go("again", task="classify", name="emotions")
    assert (tmp_path / "out/best.pt").read_bytes() == (tmp_path / "again/best.pt").read_bytes()
    assert again.sha256 == result.sha256 and again.metrics == result.metrics


def test_a_complete_output_is_refused(detector: tuple[Path, YoloResult], dataset: Path, tmp_path: Path) -> None:
    folder, _ = detector
    for checkpoints, exported in ((folder / "checkpoints", tmp_path / "e"), (tmp_path / "c", folder / "exported")):
        with pytest.raises(InputError, match="already exists and is not empty"):
            train(
                config(tmp_path),
                dataset / "images",
                dataset / "annotations.json",
                checkpoints,
                exported,
                name="faces",
            )
    assert not (tmp_path / "e").exists() and not (tmp_path / "c").exists()


def test_a_training_is_continued_from_a_folder(detector: tuple[Path, YoloResult], go: Go, tmp_path: Path) -> None:
    resume = str(detector[0] / "checkpoints")
    for entries, message in (
        ({"seed": 5}, "configured differently: .*seed"),
        ({"epochs": 3}, "configured differently: .*epochs"),  # the optimizer auto depends on it
        ({}, "has had 2 epochs already"),
    ):
        with pytest.raises(InputError, match=message):
            go(model=str(detector[0] / "models/detector.yaml"), resume=resume, **entries)
        assert not list(tmp_path.glob(".out*")) and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_named_optimizer_is_continued_for_longer(go: Go, tmp_path: Path) -> None:
    options = {"optimizer": "SGD", "lr": 0.01, "nbs": 8}
    go("short", epochs=1, **options)
    result = go("long", epochs=2, resume=str(tmp_path / "short"), **options)
    history = json.loads((tmp_path / "long/history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[0] == json.loads((tmp_path / "short/history.json").read_text())[0]
    assert len((tmp_path / "long/ultralytics/results.csv").read_text().splitlines()) == 3
    assert result.best_epoch in (1, 2)
    states = [read_checkpoint(tmp_path / name / "last.pt") for name in ("short", "long")]
    assert states[1]["updates"] == 2 * states[0]["updates"] > 0


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (lambda trainer: trainer.tloss.update(box_loss=torch.tensor(float("nan"))), "no longer finite in epoch 1"),
        (
            lambda _trainer: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")),
            "not enough memory on cpu",
        ),
    ],
)
def test_a_training_that_fails_leaves_nothing(
    fail: Callable[[Any], Any], message: str, go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = record._check_finite

    def failing(trainer: Any) -> None:
        fail(trainer)
        check(trainer)

    monkeypatch.setattr(record, "_check_finite", failing)
    with pytest.raises(InputError, match=message):
        go()
    assert {path.name for path in tmp_path.iterdir()} == {"models"}


@pytest.mark.slow
def test_ctrl_c_keeps_the_complete_epochs(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is logged until then is short."""
    caplog.set_level("INFO")
    saved = record.Recorder.saved

    def interrupted(self: record.Recorder, trainer: Any) -> None:
        saved(self, trainer)
        raise KeyboardInterrupt

    monkeypatch.setattr(record.Recorder, "saved", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go()
    lines = [line.getMessage() for line in caplog.records if line.levelname == "INFO"]
    assert "unpacked: train, 16 images and 21 faces; val, 8 images and 11 faces" in lines
    (epoch,) = [line for line in lines if line.startswith("epoch 1: ")]
    assert epoch.split()[2::2] == ["Train/loss", "Val/loss", "Val/map50", "Val/map50_95"]
    assert "fontManager" not in caplog.text
    (unfinished,) = tmp_path.glob(".out.*.unfinished")
    assert (unfinished / "last.pt").exists() and not (unfinished / ".scratch").exists()
    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(record.Recorder, "saved", saved)
    go()
    assert {path.name for path in tmp_path.iterdir()} == {"models", "out", "out-onnx"}
