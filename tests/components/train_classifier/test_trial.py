"""Trials of a search: a training with changes, whose failure is an outcome."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from train_samples import config

from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.models.checkpoint import load_checkpoint
from components.shared.trial import NO_TRIAL, Outcome, Trial
from components.train_classifier import trial
from components.train_classifier.config.training import resolve_config
from components.train_classifier.train import TrainResult
from components.train_classifier.trial import run_training
from serving.runtime.errors import InputError, StorageError

Try = Callable[..., tuple[TrainResult | None, Outcome | None]]
TINY = config().model_dump(mode="json")


@pytest.fixture
def try_(dataset: Path, tmp_path: Path) -> Try:
    def call(tried: Trial | None, annotations: Path | None = None) -> tuple[TrainResult | None, Outcome | None]:
        paths = dataset / "images", annotations or dataset / "annotations.json", tmp_path / "out"
        return run_training(partial(resolve_config, TINY), tried, *paths)

    return call


def numbered(number: float, **changes: Any) -> Trial:
    """A trial as KFP passes it, with every number as a float."""
    return Trial.model_validate({"number": number, "changes": changes})


def test_a_trial_is_the_training_with_its_changes_and_tells_its_score(try_: Try, dataset: Path, tmp_path: Path) -> None:
    sgd = {"name": "SGD", "arguments": {"momentum": 0.5}}
    changes = {"learning_rate": 0.02, "optimizer": sgd, "augmentation.arguments.flip": 0.0}
    result, outcome = try_(numbered(3.0, **changes))
    assert result is not None
    score = result.metrics["val_f1"]
    assert outcome == Outcome(number=3, changes=changes, score=score, metrics=result.metrics, run_id="")
    same = resolve_config(TINY, learning_rate=0.02, optimizer=sgd, augmentation={"arguments": {"flip": 0}})
    assert load_checkpoint(tmp_path / "out" / "best.pt").config == same.model_dump(mode="json")


def test_without_a_trial_it_is_a_training_like_any_other(try_: Try) -> None:
    result, outcome = try_(None)
    assert result is not None and outcome is None


def test_a_trial_that_is_not_made_leaves_nothing(try_: Try, tmp_path: Path) -> None:
    assert try_(Trial.model_validate(NO_TRIAL.model_dump())) == (None, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"learning_rate": 1e30, "optimizer": "SGD", "epochs": 4.0}, "loss"),  # not a number before the end
        ({"optimizer": "Adamm"}, "unknown optimizer 'Adamm'"),
        ({"optimizer": {"name": "Adam", "arguments": {"momentum": 0.9}}}, "has no argument 'momentum'"),
        ({"model": "inception_v3"}, "inception_v3"),  # too small a picture
        ({"epochs.more": 1}, "has no entries"),
    ],
)
def test_a_trial_may_fail(try_: Try, tmp_path: Path, changes: dict[str, Any], error: str) -> None:
    """A loss that is no longer finite and what does not fit are outcomes; no epoch is left behind."""
    result, outcome = try_(numbered(4.0, **changes))
    assert result is None and outcome is not None
    assert outcome.model_dump(exclude_unset=True) == {"number": 4, "changes": changes, "error": outcome.error}
    assert error in outcome.error and len(outcome.error) <= 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), RuntimeError("sizes differ"), ValueError("no")])
def test_what_a_library_raises_is_an_outcome_too(try_: Try, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trial, "train", fail)
    _, outcome = try_(numbered(0.0))
    assert outcome is not None and outcome.error == str(error)
    with pytest.raises(type(error)):
        try_(None)


@pytest.mark.parametrize("error", [StorageError("s3 is down"), KeyboardInterrupt(), FileNotFoundError("gone")])
def test_a_failure_that_a_retry_may_solve_is_raised(
    try_: Try, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trial, "train", fail)
    with pytest.raises(type(error)):
        try_(numbered(0.0))


def test_a_search_needs_a_val_split(try_: Try, dataset: Path, tmp_path: Path) -> None:
    whole = read_annotations(dataset / "annotations.json")
    images = tuple(image for image in whole.images if image.split != "val")
    write_annotations(Annotations(images, whole.info), tmp_path / "train.json")
    with pytest.raises(InputError, match="scores its trials on the val split, and no image is assigned to it"):
        try_(numbered(0.0), tmp_path / "train.json")
