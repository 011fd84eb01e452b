"""Early stopping: it stops, and says which epoch was the best."""

import math

import pytest

from components.train_classifier.config.objective import EarlyStoppingSpec, Metric
from components.train_classifier.optimization.schedules import best_epoch, should_stop
from serving.runtime.errors import InputError

KEYS = {"loss": "loss", "f1": "f1", "acc": "accuracy"}


def train(values: list[float], spec: EarlyStoppingSpec) -> tuple[int, int | None]:
    """How many epochs a loop runs that asks after each, and the best one."""
    history: list[dict[str, float]] = []
    for value in values:
        history.append({KEYS[spec.monitor]: value})
        if should_stop(history, spec):
            break
    return len(history), best_epoch(history, spec)


@pytest.mark.parametrize("patience", [1, 2, 5, 7])
def test_it_stops_after_patience_epochs_without_improvement(patience: int) -> None:
    course = [1.0, 0.8, 0.6] + [0.7] * 20
    assert train(course, EarlyStoppingSpec(patience=patience)) == (3 + patience, 2)


@pytest.mark.parametrize(
    ("monitor", "values", "expected"),
    [
        ("loss", [3, 2, 2, 2, 9], (4, 1)),
        ("f1", [0.1, 0.2, 0.2, 0.1, 0.9], (4, 1)),
        ("acc", [0.1, 0.2, 0.1, 0.3, 0.2, 0.2, 0.9], (6, 3)),
        ("loss", [5, 4, 3, 2, 1], (5, 4)),
        ("loss", [math.nan, 3, math.nan, 2, math.nan, math.nan, 1], (6, 3)),
        ("loss", [math.nan, math.nan, 1], (2, None)),
        ("loss", [math.inf, math.inf, math.inf], (3, 0)),
    ],
)
def test_courses(monitor: Metric, values: list[float], expected: tuple[int, int | None]) -> None:
    assert train(values, EarlyStoppingSpec(patience=2, monitor=monitor)) == expected


def test_small_improvements_do_not_count() -> None:
    course = [1.0, 0.95, 0.9, 0.85, 0.8]
    assert train(course, EarlyStoppingSpec(patience=2, delta=0.07)) == (5, 4)
    assert train(course, EarlyStoppingSpec(patience=2, delta=0.2)) == (3, 0)


def test_it_is_a_function_of_the_history_alone() -> None:
    spec = EarlyStoppingSpec(patience=3)
    history = [{"loss": value} for value in (1.0, 0.5, 0.6, 0.7, 0.8)]
    assert [should_stop(history[:count], spec) for count in range(6)] == [False] * 5 + [True]


def test_without_validation_it_is_explained() -> None:
    with pytest.raises(InputError, match="early_stopping watches 'f1' on the val split"):
        should_stop([{"train_loss": 1.0}], EarlyStoppingSpec(monitor="f1"))
