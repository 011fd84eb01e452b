"""Trials: changes laid over a configuration, and failures that are outcomes (mask 44)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_samples import config

from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.models.checkpoint import load_checkpoint
from components.train_classifier import trial
from components.train_classifier.config.changes import lay_over
from components.train_classifier.config.training import resolve_config
from components.train_classifier.trial import Attempt, attempt
from serving.runtime.errors import InputError, StorageError

Try = Callable[..., Attempt]
TINY = config().model_dump(mode="json")


@pytest.fixture
def try_(dataset: Path, tmp_path: Path) -> Try:
    def call(number: float | None = 3.0, changes: dict[str, Any] = {}, annotations: Path | None = None) -> Attempt:  # noqa: B006
        what = {} if number is None else {"number": number, "changes": changes}
        return attempt(TINY, what, dataset / "images", annotations or dataset / "annotations.json", tmp_path / "out")

    return call


MOMENTUM = {"momentum": 0.9}


@pytest.mark.parametrize(
    ("options", "changes", "result"),
    [
        ({}, {"epochs": 3.0}, {"epochs": 3.0}),
        ({"augment": {"flip": 0, "hue": 0.1}}, {"augment.flip": 0.5}, {"augment": {"flip": 0.5, "hue": 0.1}}),
        ({}, {"objective.heads.gender.weight": 2}, {"objective": {"heads": {"gender": {"weight": 2}}}}),
        ({"a": "SGD"}, {"a.arguments": MOMENTUM}, {"a": {"name": "SGD", "arguments": MOMENTUM}}),
        ({"a": {"name": "SGD", "sam": {"rho": 1}}}, {"a": {"name": "Adam"}}, {"a": {"name": "Adam"}}),
        ({"a": None}, {"a.patience": 2}, {"a": {"patience": 2}}),
        ({"a": "SGD"}, {"a.name": "Adam", "a.decay_all": True}, {"a": {"name": "Adam", "decay_all": True}}),
    ],
)
def test_changes_reach_into_a_configuration(
    options: dict[str, Any], changes: dict[str, Any], result: dict[str, Any]
) -> None:
    before = json.dumps([options, changes])
    assert lay_over(options, changes) == result
    assert json.dumps([options, changes]) == before, "what was given stays as it is"


def test_a_path_through_a_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"'epochs\.more': 'epochs' is 3, which has no entries"):
        lay_over({"epochs": 3}, {"epochs.more": 1})


def test_a_trial_is_the_training_with_its_changes_and_tells_its_score(try_: Try, dataset: Path, tmp_path: Path) -> None:
    changes = {"learning_rate": 0.02, "optimizer": {"name": "SGD", "arguments": {"momentum": 0.5}}, "augment.flip": 0.0}
    made = try_(3.0, changes)
    assert made.result is not None
    assert made.outcome == {
        "number": 3,
        "changes": changes,
        "score": made.result.metrics["val_f1"],
        "metrics": made.result.metrics,
        "run_id": "",
    }
    same = resolve_config(
        TINY, learning_rate=0.02, optimizer={"name": "SGD", "arguments": {"momentum": 0.5}}, augment={"flip": 0}
    )
    assert load_checkpoint(tmp_path / "out" / "best.pt").config == same.model_dump(mode="json")


def test_without_a_trial_it_is_a_training_like_any_other(try_: Try) -> None:
    made = try_(None)
    assert made.result is not None and made.outcome == {}


def test_a_trial_that_is_not_made_leaves_nothing(try_: Try, tmp_path: Path) -> None:
    assert try_(-1.0) == Attempt(None, {})
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
    made = try_(4.0, changes)
    assert made.result is None
    assert made.outcome.keys() == {"number", "changes", "error"}
    assert (made.outcome["number"], made.outcome["changes"]) == (4, changes)
    assert error in made.outcome["error"] and len(made.outcome["error"]) <= 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), RuntimeError("sizes differ"), ValueError("no")])
def test_what_a_library_raises_is_an_outcome_too(try_: Try, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trial, "train", fail)
    assert try_(0.0).outcome["error"] == str(error)
    with pytest.raises(type(error)):
        try_(None)


@pytest.mark.parametrize("error", [StorageError("s3 is down"), KeyboardInterrupt(), FileNotFoundError("gone")])
def test_what_another_attempt_may_mend_is_none(
    try_: Try, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trial, "train", fail)
    with pytest.raises(type(error)):
        try_(0.0)


def test_a_search_needs_persons_that_judge_its_trials(try_: Try, dataset: Path, tmp_path: Path) -> None:
    whole = read_annotations(dataset / "annotations.json")
    images = tuple(image for image in whole.images if image.split != "val")
    write_annotations(Annotations(images, whole.info), tmp_path / "train.json")
    with pytest.raises(InputError, match="judges its trials on the val split, and no image is assigned to it"):
        try_(0.0, {}, tmp_path / "train.json")
