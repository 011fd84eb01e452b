"""The whole training on tiny drawn faces."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_samples import MASKS, config, same_weights

from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.shared.models.checkpoint import load_checkpoint
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.train import TrainResult, train
from serving.runtime.errors import InputError

Run = Callable[..., tuple[TrainResult, Path]]


@pytest.fixture
def run(dataset: Path, tmp_path: Path) -> Run:
    def call(name: str = "checkpoints", **entries: Any) -> tuple[TrainResult, Path]:
        folder = tmp_path / name
        return train(config(**entries), dataset / "images", dataset / "annotations.json", folder), folder

    return call


def test_learns_and_leaves_a_complete_folder(run: Run) -> None:
    result, folder = run(
        epochs=14, learning_rate=0.01, ema_decay=0.8, augmentation={"arguments": {"scale": [0.8, 1], "erasing": 0}}
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.pt", "best_acc.pt", "best_f1.pt", "classes.txt", "config.json", "confusion_matrix.png",
        "history.json", "last.pt", "predictions.png", "tensorboard",
    ]  # fmt: skip
    assert sorted(path.name for path in folder.parent.iterdir()) == ["checkpoints"]
    history = json.loads((folder / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(1, 15))
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert result.metrics["val_f1"] == max(row["val_f1"] for row in history) > 0.6
    assert result.run_id == ""
    facts = json.loads((folder / "config.json").read_text())
    assert (facts["train_faces"], facts["val_faces"], facts["unlabeled_faces"]) == (24, 9, 1)
    assert facts["best_epoch"] == result.best_epoch and facts["best_chosen_by"] == "f1 on val"
    best, last = load_checkpoint(folder / "best.pt"), load_checkpoint(folder / "last.pt")
    assert (best.epoch, last.epoch) == (result.best_epoch, 14)
    assert best.metrics == history[result.best_epoch - 1] and last.metrics == history[-1]
    assert best.training_state is None and last.training_state is not None
    assert best.heads[0].labels == MASKS and not best.leaks
    assert TrainConfig.model_validate(best.config) == config(
        epochs=14, learning_rate=0.01, ema_decay=0.8, augmentation={"arguments": {"scale": [0.8, 1], "erasing": 0}}
    )


def test_tensorboard_has_every_curve(run: Run) -> None:
    _, folder = run()
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    steps = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    # 24 faces in batches of 8 are 3 steps; every second one and the last of an epoch are reported.
    train_steps = [2, 3, 4, 6]
    assert steps == {
        "Train/loss": train_steps, "Train/accuracy": train_steps, "Train/learning_rate": train_steps,
        "Val/loss": [1, 2], "Val/accuracy": [1, 2], "Val/f1": [1, 2],
    }  # fmt: skip
    history = json.loads((folder / "history.json").read_text())
    values = {tag: [event.value for event in events.Scalars(tag)] for tag in steps}
    for name in ("loss", "accuracy", "f1"):
        assert values[f"Val/{name}"] == pytest.approx([row[f"val_{name}"] for row in history])
    for name in ("loss", "accuracy"):
        first, second, third, fourth = values[f"Train/{name}"]
        means = [(2 * first + second) / 3, (third + 2 * fourth) / 3]
        assert means == pytest.approx([row[f"train_{name}"] for row in history])
        assert first != second


def test_same_seed_same_weights_with_any_number_of_workers(run: Run) -> None:
    one, again, other = (
        load_checkpoint(run(name, **entries)[1] / "last.pt")
        for name, entries in [("one", {}), ("again", {"workers": 2}), ("other", {"seed": 1})]
    )
    assert same_weights(one, again)
    assert not same_weights(one, other)
    assert one.training_digest == again.training_digest != other.training_digest


def test_the_network_with_moving_average_is_the_one_that_is_used(run: Run) -> None:
    averaged = load_checkpoint(run("averaged")[1] / "last.pt")
    plain = load_checkpoint(run("plain", ema_decay=0)[1] / "last.pt")
    assert plain.ema_state is None and averaged.ema_state is not None
    # The average watches, it does not steer.
    assert all(torch.equal(value, averaged.model_state[name]) for name, value in plain.model_state.items())
    used = averaged.network().state_dict()
    assert all(torch.equal(value, averaged.ema_state[name]) for name, value in used.items())
    assert not torch.equal(used["backbone.fc.weight"], averaged.model_state["backbone.fc.weight"])


def test_three_heads(run: Run) -> None:
    _, folder = run(label_space="all", epochs=1)
    best = load_checkpoint(folder / "best.pt")
    assert [(head.name, len(head.labels)) for head in best.heads] == [("mask", 3), ("gender", 2), ("age", 3)]
    assert best.model_state["backbone.fc.weight"].shape == (8, 128)


def test_without_val_the_last_epoch_is_the_best(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = read_annotations(dataset / "annotations.json")
    images = tuple(replace(image, split="test" if image.split == "val" else image.split) for image in data.images)
    write_annotations(Annotations(images, DatasetInfo(leaks=True)), tmp_path / "annotations.json")
    with caplog.at_level(logging.WARNING):
        result = train(config(), dataset / "images", tmp_path / "annotations.json", tmp_path / "out")
    assert "no labeled face in the val split" in caplog.text
    assert result.best_epoch == 2 and result.metrics.keys() == {"train_loss", "train_accuracy"}
    best, last = load_checkpoint(tmp_path / "out" / "best.pt"), load_checkpoint(tmp_path / "out" / "last.pt")
    assert same_weights(best, last) and best.leaks
    assert "no val split" in json.loads((tmp_path / "out" / "config.json").read_text())["best_chosen_by"]


def test_a_loss_that_is_not_finite_names_the_pictures_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    message = r"the (loss|gradient) is (nan|inf) in epoch 1: lower learning_rate.*\d+\.jpg, .*\.jpg"
    with pytest.raises(InputError, match=message):
        run(learning_rate=1e30, scheduler="constant")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="already exists and is not empty"):
        run()
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoints", "mine.txt"]


def test_too_little_to_train_on(run: Run) -> None:
    with pytest.raises(InputError, match="train split has 0 faces with a label of 'emotion' and 25 without"):
        run(label_space="emotion")


def test_a_label_that_never_occurs_is_reported(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run(label_space="age", epochs=1)
    assert "no face of the train split is >=60" in caplog.text


def test_parameters_of_the_component_override_its_options(dataset: Path, tmp_path: Path) -> None:
    from components.train_classifier.component import train_classifier

    logged: dict[str, float] = {}
    run_id, outcome = train_classifier.python_func(
        images=SimpleNamespace(path=str(dataset / "images")),
        annotations=SimpleNamespace(path=str(dataset / "annotations.json")),
        checkpoints=SimpleNamespace(path=str(tmp_path / "out")),
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        label_space="mask",
        model="base",
        epochs=1,
        batch_size=12,
        learning_rate=0.002,
        image_height=16,
        image_width=24,
        seed=5,
        training={"epochs": 9.0, "workers": 0.0, "augmentation": {"arguments": {"rotation": 10.0}}},
    )
    assert (run_id, outcome) == ("", {})
    assert logged.keys() == {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_f1", "best_epoch"}
    assert all(type(value) is float for value in logged.values())
    saved = load_checkpoint(tmp_path / "out" / "best.pt")
    assert (saved.config["epochs"], saved.config["seed"], saved.config["augmentation"]["arguments"]["rotation"]) == (
        1,
        5,
        10.0,
    )
    assert (saved.input.height, saved.input.width) == (16, 24)


def test_age_thresholds_move_training_targets_and_nothing_else(dataset: Path, tmp_path: Path) -> None:
    """Under bounds that make everybody old the training learns one class; val is judged with 30 and 60."""
    entries = {"label_space": "age", "age_thresholds": (1, 2), "epochs": 8, "objective": {}}
    train(config(**entries), dataset / "images", dataset / "annotations.json", tmp_path / "checkpoints")
    history = json.loads((tmp_path / "checkpoints" / "history.json").read_text())
    assert history[-1]["train_accuracy"] > 0.9
    assert history[-1]["val_accuracy"] == 0, "all of val is from 30 to 59"


@pytest.mark.parametrize(
    ("keep", "left"),
    [("all", ["best", "best_acc", "best_f1", "last"]), ("best_and_last", ["best", "last"]), ("best", ["best"])],
)
def test_checkpoints_are_kept_by_choice(run: Run, keep: str, left: list[str]) -> None:
    _, folder = run(epochs=1, keep_checkpoints=keep)
    assert sorted(path.stem for path in folder.glob("*.pt")) == left
