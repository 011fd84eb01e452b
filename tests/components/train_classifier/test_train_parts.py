"""Schedules, losses, moving average and optimizer: the arithmetic of a training step."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from components.shared.models.network import build_network
from components.train_classifier.config import resolve_config
from components.train_classifier.ema import MovingAverage
from components.train_classifier.loop import make_optimizer
from components.train_classifier.losses import correct, heads_loss
from components.train_classifier.schedule import SCHEDULES, learning_rate
from components.train_classifier.train import rank
from serving.runtime.card import Head


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("total", [1, 2, 50])
def test_schedules_rise_to_the_peak_and_fall(name: str, warmup: float, total: int) -> None:
    rates = [learning_rate(name, step, total, peak=2.0, warmup=warmup) for step in range(total)]
    assert all(0 < rate <= 2.0 for rate in rates)
    top = rates.index(max(rates))
    assert abs(top + 0.5 - warmup * total) <= 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_schedules_end_points() -> None:
    assert SCHEDULES["one_cycle"](0.0, 0.3) == pytest.approx(1 / 25)
    assert SCHEDULES["one_cycle"](0.3, 0.3) == pytest.approx(1)
    assert SCHEDULES["one_cycle"](1.0, 0.3) == pytest.approx(1e-4)
    assert SCHEDULES["cosine"](0.05, 0.1) == pytest.approx(0.5)
    assert SCHEDULES["cosine"](0.55, 0.1) == pytest.approx(0.01 + 0.99 / 2)
    assert SCHEDULES["cosine"](1.0, 0.1) == pytest.approx(0.01)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_several_heads_is_the_sum_of_smoothed_cross_entropies(smoothing: float) -> None:
    sizes = (3, 2, 3)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 8))
    targets = np.stack([rng.integers(size, size=6) for size in sizes], axis=1)
    expected = 0.0
    start = 0
    for head, size in enumerate(sizes):
        part = logits[:, start : start + size]
        log_probabilities = part - np.log(np.exp(part).sum(axis=1, keepdims=True))
        wanted = np.full((6, size), smoothing / size)
        wanted[np.arange(6), targets[:, head]] += 1 - smoothing
        expected += float(-(wanted * log_probabilities).sum(axis=1).mean())
        start += size
    found = heads_loss(torch.from_numpy(logits), torch.from_numpy(targets), sizes, smoothing)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_face_is_correct_when_every_head_is() -> None:
    logits = torch.tensor([[9.0, 0, 0, 9, 0], [9, 0, 0, 0, 9], [0, 0, 9, 9, 0]])
    targets = torch.tensor([[0, 0], [0, 0], [2, 0]])
    assert correct(logits, targets, (3, 2)).tolist() == [True, False, True]


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
    for name, value in average.model.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not average.model.training
    assert int(average.model.state_dict()["1.num_batches_tracked"]) == 5


def test_only_weights_decay() -> None:
    config = resolve_config({"weight_decay": 0.3}, label_space="mask", model="base")
    network = build_network("base", [Head(name="mask", labels=("a", "b"))], config.normalization)
    decay = {
        id(parameter): group["weight_decay"]
        for group in make_optimizer(network, config).param_groups
        for parameter in group["params"]
    }
    for name, parameter in network.named_parameters():
        assert decay[id(parameter)] == (0.0 if name.endswith("bias") or parameter.ndim == 1 else 0.3), name


def test_best_epoch_by_each_criterion() -> None:
    keys = ("val_f1", "val_accuracy", "val_loss")
    rows = [
        dict(zip(keys, row, strict=True))
        for row in [(0.5, 0.9, 0.4), (0.8, 0.7, 0.3), (0.8, 0.9, 0.2), (0.1, 0.1, 0.1)]
    ]
    chosen = {by: max(range(4), key=lambda at, by=by: rank(rows[at], by)) for by in ("f1", "acc", "loss")}
    assert chosen == {"f1": 2, "acc": 2, "loss": 3}
    assert rank({"val_f1": 0.0, "val_accuracy": 0.0, "val_loss": math.inf}, "f1") < rank(rows[3], "f1")
