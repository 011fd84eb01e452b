"""Schedules, losses, moving average and optimizer: the arithmetic of a training step."""

import math

import pytest
import torch
from torch import nn

from components.train_classifier.learner import MovingAverage
from components.train_classifier.objective import correct
from components.train_classifier.optimization import schedules
from components.train_classifier.record import best_row


@pytest.mark.parametrize("name", ["cosine_with_warmup", "cosine_cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("total", [1, 2, 50])
def test_schedules_rise_to_the_peak_and_fall(name: str, warmup: float, total: int) -> None:
    factors = [getattr(schedules, name)(step, total, warmup=warmup) for step in range(total)]
    assert all(0 < factor <= 1.0 for factor in factors)
    top = factors.index(max(factors))
    assert abs(top + 0.5 - warmup * total) <= 1
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@pytest.mark.parametrize(("name", "start", "end"), [("cosine_cycle", 1 / 25, 1e-4), ("cosine_with_warmup", 0.0, 0.01)])
def test_schedules_end_points(name: str, start: float, end: float) -> None:
    factor, total = getattr(schedules, name), 10**6
    assert factor(0, total, warmup=0.3) == pytest.approx(start, abs=1e-5)
    assert factor(3 * 10**5, total, warmup=0.3) == pytest.approx(1)
    assert factor(total - 1, total, warmup=0.3) == pytest.approx(end, abs=1e-5)


def test_a_face_is_correct_when_every_head_is() -> None:
    logits = torch.tensor([[9.0, 0, 0, 9, 0], [9, 0, 0, 0, 9], [0, 0, 9, 9, 0]])
    targets = [torch.eye(3)[[0, 0, 2]], torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.6, 0.4]])]
    assert correct(logits, targets).tolist() == [True, False, True]


def test_moving_average_follows_its_formula() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(model, decay=0.3)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for update in range(5):
        model(torch.randn(4, 2))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(model)
        decay = min(0.3, (1 + update) / (10 + update))
        for name, value in model.state_dict().items():
            expected[name] = (
                decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
            )
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not average.network.training
    assert int(average.network.state_dict()["1.num_batches_tracked"]) == 5


def test_best_epoch_by_each_criterion() -> None:
    keys = ("val_f1", "val_accuracy", "val_loss")
    rows = [
        dict(zip(keys, row, strict=True))
        for row in [(0.5, 0.9, 0.4), (0.8, 0.7, 0.3), (0.8, 0.9, 0.2), (0.1, 0.1, 0.1)]
    ]
    chosen = {by: rows.index(best_row(rows, by)) for by in ("f1", "acc", "loss")}
    assert chosen == {"f1": 2, "acc": 2, "loss": 3}
    worthless = {"val_f1": 0.0, "val_accuracy": 0.0, "val_loss": math.inf}
    assert best_row([worthless, rows[3]], "f1") is rows[3]


@pytest.mark.parametrize("criterion", ["f1", "acc", "loss"])
def test_of_equally_good_epochs_the_first_is_best(criterion: str) -> None:
    rows = [{"val_f1": 0.5, "val_accuracy": 0.6, "val_loss": 0.7} for _ in range(3)]
    assert best_row(rows, criterion) is rows[0]
