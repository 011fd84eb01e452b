"""Losses by name against plain formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from components.shared.dataset.label_spaces import label_space
from components.shared.options import by_name, parse_options
from components.train_classifier.config import objective as names
from components.train_classifier.config.objective import LossSpec, ObjectiveSpec
from components.train_classifier.objective import Objective, class_weights
from serving.runtime.card import Head
from serving.runtime.errors import InputError

SIZES = [2, 3, 6, 18]


def batch(size: int, count: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and one-hot targets in which every class occurs."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(size), rng.integers(size, size=count - size)])
    return torch.from_numpy(3 * rng.normal(size=(count, size))), torch.from_numpy(np.eye(size)[labels])


def soft(targets: torch.Tensor) -> torch.Tensor:
    rng = np.random.default_rng(9)
    return 0.7 * targets + 0.3 * targets[torch.from_numpy(rng.permutation(len(targets)))]


LOSSES = {name: by_name("loss", name, names.LOSSES) for name in names.LOSSES}


def objective(spec: object, heads: tuple[Head, ...], counts: list[NDArray[np.float64]] | None = None) -> Objective:
    parsed = parse_options(ObjectiveSpec, spec, "objective")  # type: ignore[arg-type]
    return Objective(parsed, heads, counts or [np.ones(len(head.labels)) for head in heads])


def head(size: int, name: str = "head") -> Head:
    return Head(name=name, labels=tuple(f"class {index}" for index in range(size)))


def numpy_softmax(logits: torch.Tensor) -> NDArray[np.float64]:
    powers = np.exp(logits.numpy() - logits.numpy().max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("size", SIZES)
def test_cross_entropy_equals_torch(size: int) -> None:
    logits, targets = batch(size)
    for wanted in (targets, soft(targets)):
        for smoothing in (0.0, 0.1):
            torch.testing.assert_close(
                LOSSES["cross_entropy"](logits, wanted, label_smoothing=smoothing),
                functional.cross_entropy(logits, wanted, reduction="none", label_smoothing=smoothing),
            )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "arguments"), [("focal", {"gamma": 0}), ("label_smoothing", {"smoothing": 0.0})])
def test_losses_without_their_trick_are_cross_entropy(name: str, arguments: dict[str, float], size: int) -> None:
    logits, targets = batch(size)
    for wanted in (targets, soft(targets)):
        expected = LOSSES["cross_entropy"](logits, wanted)
        torch.testing.assert_close(LOSSES[name](logits, wanted, **arguments), expected)
        assert not torch.allclose(LOSSES[name](logits, wanted), expected), "the default must do something"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_against_its_formula(size: int, gamma: float) -> None:
    logits, targets = batch(size)
    true = (numpy_softmax(logits) * targets.numpy()).sum(axis=1)
    expected = -((1 - true) ** gamma) * np.log(true)
    np.testing.assert_allclose(LOSSES["focal"](logits, targets, gamma=gamma).numpy(), expected, rtol=1e-9)
    weight = torch.linspace(1, 2, size, dtype=torch.float64)
    weighted = LOSSES["focal"](logits, targets, weight=weight, gamma=gamma)
    np.testing.assert_allclose(weighted.numpy(), (targets @ weight).numpy() * expected, rtol=1e-9)


def test_focal_has_finite_gradients_at_perfect_predictions() -> None:
    for gamma in (0.5, 2.0):
        logits = torch.tensor([[60.0, -60.0], [60.0, -60.0]], requires_grad=True)
        LOSSES["focal"](logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), gamma=gamma).sum().backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("smoothing", [0.05, 0.1, 0.5])
def test_label_smoothing_against_its_formula(size: int, smoothing: float) -> None:
    logits, targets = batch(size)
    wanted = np.where(targets.numpy() == 1, 1 - smoothing, smoothing / (size - 1))
    np.testing.assert_allclose(wanted.sum(axis=1), 1)
    np.testing.assert_allclose(
        LOSSES["label_smoothing"](logits, targets, smoothing=smoothing).numpy(),
        -(wanted * np.log(numpy_softmax(logits))).sum(axis=1),
        rtol=1e-9,
    )


def test_bce_is_the_binary_cross_entropy_of_the_one_logit() -> None:
    rng = np.random.default_rng(3)
    logit = torch.from_numpy(rng.normal(size=16) * 4)
    targets = torch.from_numpy(rng.uniform(size=16))
    both = torch.stack([1 - targets, targets], dim=1)
    logits = torch.stack([torch.zeros_like(logit), logit], dim=1)
    expected = functional.binary_cross_entropy_with_logits(logit, targets, reduction="none")
    torch.testing.assert_close(LOSSES["bce"](logits, both), expected)
    torch.testing.assert_close(LOSSES["cross_entropy"](logits, both), expected)


@pytest.mark.parametrize("size", SIZES)
def test_f1_against_its_formula(size: int) -> None:
    logits, targets = batch(size)
    for wanted in (targets, soft(targets)):
        shares, truth = numpy_softmax(logits), wanted.numpy()
        hits = (shares * truth).sum(axis=0)
        precision = hits / (hits + (shares * (1 - truth)).sum(axis=0) + 1e-7)
        recall = hits / (hits + ((1 - shares) * truth).sum(axis=0) + 1e-7)
        scores = np.clip(2 * precision * recall / (precision + recall + 1e-7), 1e-7, 1 - 1e-7)
        assert float(LOSSES["f1"](logits, wanted)) == pytest.approx(1 - scores.mean(), abs=1e-12)
        weight = torch.linspace(1, 2, size, dtype=torch.float64)
        expected = 1 - np.average(scores, weights=weight.numpy())
        assert float(LOSSES["f1"](logits, wanted, weight=weight)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_f1_of_perfect_predictions_is_near_0_and_of_wrong_ones_near_1(size: int) -> None:
    _, targets = batch(size)
    assert float(LOSSES["f1"](100 * targets, targets)) < 1e-5
    assert float(LOSSES["f1"](100 * targets.roll(1, dims=1), targets)) > 1 - 1e-5


@pytest.mark.parametrize(
    ("name", "size"),
    [("bce", 2), *((name, size) for name in ("cross_entropy", "focal", "label_smoothing") for size in SIZES)],
)
def test_the_loss_of_mixed_targets_is_the_mixture_of_the_losses(name: str, size: int) -> None:
    logits, targets = batch(size)
    partner = targets.roll(1, dims=0)
    weight = torch.linspace(1, 2, size, dtype=torch.float64)
    mixed = LOSSES[name](logits, 0.7 * targets + 0.3 * partner, weight=weight)
    parts = [LOSSES[name](logits, wanted, weight=weight) for wanted in (targets, partner)]
    torch.testing.assert_close(mixed, 0.7 * parts[0] + 0.3 * parts[1])


@pytest.mark.parametrize("size", SIZES)
def test_weighted_cross_entropy_equals_torch(size: int) -> None:
    logits, targets = batch(size)
    weights = tuple(float(value) for value in np.linspace(0.5, 3, size))
    found = objective({"loss": {"class_weights": weights}}, (head(size),))(logits, [targets])
    expected = functional.cross_entropy(
        logits, targets.argmax(dim=1), weight=torch.tensor(weights, dtype=torch.float64)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", SIZES)
def test_class_weights_are_one_over_the_count(size: int) -> None:
    _, targets = batch(size, count=200)
    labels = targets.argmax(dim=1).numpy()
    counts = np.bincount(labels, minlength=size).astype(float)
    balanced = class_weights(LossSpec(class_weights="balanced"), head(size), counts)
    expected = compute_class_weight("balanced", classes=np.arange(size), y=labels)
    assert balanced is not None
    np.testing.assert_allclose(balanced, expected)
    inverse = class_weights(LossSpec(class_weights="inverse"), head(size), counts)
    assert inverse is not None
    np.testing.assert_allclose(inverse, (1 / counts) / (1 / counts).sum())
    assert class_weights(LossSpec(), head(size), counts) is None


def test_an_absent_class_has_no_weight() -> None:
    for kind, expected in (("inverse", [0.8, 0.0, 0.2]), ("balanced", [2.5, 0.0, 0.625])):
        spec = parse_options(LossSpec, {"class_weights": kind}, "loss")
        found = class_weights(spec, head(3), np.array([1.0, 0.0, 4.0]))
        assert found is not None
        np.testing.assert_allclose(found, expected)


def test_a_batch_that_weighs_nothing_teaches_nothing() -> None:
    logits = torch.ones(2, 2, requires_grad=True)
    loss = objective({"loss": {"class_weights": [0, 1]}}, (head(2),))(logits, [torch.tensor([[1.0, 0.0]] * 2)])
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_the_mean_does_not_depend_on_the_batch_size() -> None:
    logits, targets = batch(3)
    for name in ("cross_entropy", "focal", "label_smoothing"):
        make = objective({"loss": name}, (head(3),))
        whole = make(logits, [targets])
        parts = [make(logits[at : at + 16], [targets[at : at + 16]]) for at in range(0, 64, 16)]
        torch.testing.assert_close(whole, torch.stack(parts).mean())
        assert float(whole) == pytest.approx(LOSSES[name](logits, targets).mean().item()), "not divided twice"


def test_several_heads_are_the_weighted_sum_of_their_losses() -> None:
    heads = label_space("all").heads
    batches = [batch(size, seed=size) for size in (3, 2, 3)]
    logits = torch.cat([part for part, _ in batches], dim=1)
    targets = [wanted for _, wanted in batches]
    for name in ("cross_entropy", "focal", "label_smoothing", "f1"):
        expected = sum(LOSSES[name](*pair).mean() for pair in batches)
        torch.testing.assert_close(objective({"loss": name}, heads)(logits, targets), expected)
    spec = {
        "loss": {"name": "focal", "arguments": {"gamma": 3.0}},
        "heads": {"gender": {"name": "bce", "weight": 0.5}, "age": {"name": "f1", "weight": 0}},
    }
    expected = LOSSES["focal"](*batches[0], gamma=3).mean() + 0.5 * LOSSES["bce"](*batches[1]).mean()
    torch.testing.assert_close(objective(spec, heads)(logits, targets), expected)


def test_half_precision_logits_are_computed_in_single() -> None:
    logits, targets = batch(18)
    short = logits.to(torch.bfloat16)
    found = objective({"loss": "focal"}, (head(18),))(short, [targets.float()])
    torch.testing.assert_close(found, LOSSES["focal"](short.float(), targets.float()).mean())


def test_a_loss_of_ones_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_losses.py").write_text(
        "def squares(logits, targets, *, weight=None, factor=1.0):\n"
        "    return factor * (logits.softmax(1) - targets).square().sum(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    logits, targets = batch(3)
    spec = {"loss": {"name": "my_losses:squares", "arguments": {"factor": 2}}}
    expected = 2 * (logits.softmax(1) - targets).square().sum(1).mean()
    torch.testing.assert_close(objective(spec, (head(3),))(logits, [targets]), expected)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"loss": "focall"}, ["focall", "did you mean 'focal'", "label_smoothing"]),
        ({"loss": {"name": "focal", "arguments": {"gama": 2}}}, ["focal", "gama", "gamma"]),
        ({"loss": {"name": "focal", "arguments": {"weight": 2}}}, ["no argument 'weight'"]),
        ({"loss": "bce"}, ["bce", "2 labels", "mask"]),
        ({"heads": {"gendre": "bce"}}, ["gendre", "did you mean 'gender'"]),
        ({"loss": {"class_weights": [1, 2]}}, ["3 numbers", "worn"]),
        ({"loss": {"class_weights": [0, 0, 0]}}, ["not all 0"]),
        ({"loss": {"class_weights": "invers"}}, ["class_weights", "invers"]),
        ({"loss": "nowhere.losses:mine"}, ["nowhere.losses:mine", "cannot be imported"]),
        ({"loss": "math:nothing"}, ["math:nothing", "cannot be imported"]),
        ({"loss": "math:pi"}, ["math:pi", "cannot be called"]),
        ({"los": "focal"}, ["los", "loss"]),
    ],
)
def test_wrong_objectives_are_explained(spec: object, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        objective(spec, label_space("all").heads)
    for word in words:
        assert word in str(caught.value)
