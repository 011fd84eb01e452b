"""Optimizers by name: arguments, gradient centralization, parameter groups, resume."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

from components.shared.options import by_name, parse_options
from components.train_classifier.config import objective as names
from components.train_classifier.config.objective import OptimizerSpec
from components.train_classifier.optimization.optimizers import SharpnessAware, centralize, make_optimizer
from serving.runtime.errors import InputError


class Net(nn.Module):
    """A stem, a middle and a head; `matrices_only` leaves biases and normalization out."""

    def __init__(self, *, matrices_only: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        norm: nn.Module = nn.Identity() if matrices_only else nn.BatchNorm1d(4)
        self.stem = nn.Sequential(nn.Linear(3, 4, bias=not matrices_only), norm)
        self.stem_two = nn.Linear(4, 4, bias=not matrices_only)
        self.head = nn.Linear(4, 2, bias=not matrices_only)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(torch.relu(self.stem_two(self.stem(inputs))))
        return found


def net_for(name: str) -> Net:
    return Net(matrices_only=name.endswith("Muon"))


def spec(**values: Any) -> OptimizerSpec:
    return parse_options(OptimizerSpec, values, "optimizer")


def plain(optimizer: torch.optim.Optimizer | SharpnessAware) -> torch.optim.Optimizer:
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def backward(model: nn.Module, step: int) -> None:
    model.zero_grad()
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
    (model(inputs) - 1).square().mean().backward()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        backward(model, step)
        optimizer.step()


PATHS = ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adamax", "Muon", "Rprop")
"""Other optimizers of torch, which are named by import path."""

OPTIMIZERS = [*names.OPTIMIZERS, *(f"torch.optim:{name}" for name in PATHS)]


@pytest.mark.parametrize("name", [*OPTIMIZERS, "Adam_GC", "AdamW_GC", "SGD_GC", "SGDW_GC"])
def test_every_optimizer_trains_and_resumes_exactly(name: str) -> None:
    decay = 0.0 if name.endswith("Rprop") else 5e-4
    whole, broken = net_for(name), net_for(name)
    train(whole, plain(make_optimizer(whole, spec(name=name), learning_rate=1e-2, weight_decay=decay)), range(6))
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))
    optimizer = plain(make_optimizer(broken, spec(name=name), learning_rate=1e-2, weight_decay=decay))
    train(broken, optimizer, range(3))
    file = io.BytesIO()
    torch.save((broken.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed = net_for(name)
    resumed.load_state_dict(weights)
    optimizer = plain(make_optimizer(resumed, spec(name=name), learning_rate=1e-2, weight_decay=decay))
    optimizer.load_state_dict(state)
    train(resumed, optimizer, range(3, 6))
    for found, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_configured_arguments_are_passed(name: str) -> None:
    found = plain(make_optimizer(net_for(name), spec(name=name), learning_rate=1e-3, weight_decay=0.0))
    default = by_name("optimizer", name, names.OPTIMIZERS)(Net(matrices_only=True).parameters(), lr=1e-3)
    same = {key: value for key, value in default.defaults.items() if key not in ("fused", "weight_decay")}
    assert {key: found.defaults[key] for key in same} == same


def test_sgd_with_momentum_is_torchs() -> None:
    ours, theirs = Net(), Net()
    arguments = {"momentum": 0.9, "nesterov": True}
    optimizer = plain(
        make_optimizer(
            ours, spec(name="SGD", arguments=arguments, decay_all=True), learning_rate=3e-3, weight_decay=5e-4
        )
    )
    train(ours, optimizer, range(5))
    train(theirs, torch.optim.SGD(theirs.parameters(), lr=3e-3, weight_decay=5e-4, **arguments), range(5))  # type: ignore[arg-type]
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_sgdw_shrinks_the_weights_beside_the_gradient() -> None:
    model = Net()
    optimizer = plain(
        make_optimizer(model, spec(name="SGDW", arguments={"momentum": 0.9}), learning_rate=0.1, weight_decay=0.02)
    )
    weight = model.stem_two.weight
    expected = weight.detach().clone()
    velocity = torch.zeros_like(expected)
    for step in range(4):
        backward(model, step)
        assert weight.grad is not None
        velocity = 0.9 * velocity + weight.grad
        expected = expected - 0.1 * velocity - 0.1 * 0.02 * expected
        optimizer.step()
        torch.testing.assert_close(weight.detach(), expected)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.02, 0.0}


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (8, 3, 5, 5)])
def test_centralization_against_its_formula(shape: tuple[int, ...]) -> None:
    gradient = torch.randn(shape, dtype=torch.float64)
    found = gradient.clone()
    centralize(found)
    if len(shape) == 1:
        assert torch.equal(found, gradient)
        return
    flat = gradient.numpy().reshape(shape[0], -1)
    torch.testing.assert_close(found, torch.from_numpy((flat - flat.mean(axis=1, keepdims=True)).reshape(shape)))
    assert found.flatten(1).mean(dim=1).abs().max() < 1e-15


@pytest.mark.parametrize("values", [{"name": "SGD_GC"}, {"name": "SGD", "gradient_centralization": True}])
def test_steps_use_centralized_gradients(values: dict[str, Any]) -> None:
    model = Net()
    optimizer = plain(make_optimizer(model, spec(**values), learning_rate=0.1, weight_decay=0.0))
    before = copy.deepcopy(model.state_dict())
    backward(model, 0)
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    optimizer.step()
    for name, weight in model.named_parameters():
        gradient = gradients[name]
        if gradient.ndim > 1:
            gradient = gradient - gradient.mean(dim=1, keepdim=True)
        torch.testing.assert_close(weight.detach(), before[name] - 0.1 * gradient)


def test_groups_by_the_longest_prefix() -> None:
    model = Net()
    groups = {
        "stem": {"learning_rate": 1e-4},
        "stem.0": {"learning_rate": 1e-5, "weight_decay": 0.0},
        "head": {"weight_decay": 0.5},
    }
    optimizer = plain(make_optimizer(model, spec(groups=groups), learning_rate=1e-2, weight_decay=0.1))
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    assert {name: found[id(weight)] for name, weight in model.named_parameters()} == {
        "stem.0.weight": (1e-5, 0.0),
        "stem.0.bias": (1e-5, 0.0),
        "stem.1.weight": (1e-4, 0.0),
        "stem.1.bias": (1e-4, 0.0),
        "stem_two.weight": (1e-2, 0.1),
        "stem_two.bias": (1e-2, 0.0),
        "head.weight": (1e-2, 0.5),
        "head.bias": (1e-2, 0.0),
    }


def test_frozen_parameters_are_not_the_optimizers() -> None:
    model = Net()
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith("head"))
    optimizer = plain(make_optimizer(model, spec(), learning_rate=0.1, weight_decay=0.1))
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert held == {id(weight) for weight in model.head.parameters()}
    model.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train"):
        make_optimizer(model, spec(), learning_rate=0.1)


def test_an_imported_class_and_whole_floats() -> None:
    model = net_for("Muon")
    found = make_optimizer(model, spec(name="torch.optim:Muon", arguments={"ns_steps": 3.0}), learning_rate=0.1)
    train(model, plain(found), range(1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "Adamw"}, ["Adamw", "did you mean 'AdamW'", "SGD"]),
        ({"name": "Adamax_GCC"}, ["Adamax_GCC"]),
        ({"name": "torch.optim:LBFGS"}, ["LBFGS", "weight_decay to 0"]),
        ({"name": "Adagrad"}, ["unknown optimizer", "RMSprop", "package.module:name"]),
        ({"name": "Adam", "arguments": {"momentum": 0.9}}, ["'Adam' has no argument 'momentum'", "betas"]),
        (
            {"name": "SGD", "arguments": {"momentum": 0.9, "nesterov": "False"}},
            ["nesterov", "true or false", "'False'"],
        ),
        ({"name": "SGD", "arguments": {"lr": 0.9}}, ["'learning_rate'"]),
        ({"name": "SGD", "arguments": {"weight_decay": 0.9}}, ["'weight_decay'", "of its own"]),
        ({"name": "SGD", "arguments": {"nesterov": True}}, ["SGD", "momentum"]),
        ({"name": "SGD", "arguments": {"params": []}}, ["no argument 'params'"]),
        ({"name": "torch.optim:Rprop"}, ["Rprop", "weight_decay to 0"]),
        ({"name": "torch.optim:Muon"}, ["Muon", "2D"]),
        ({"name": "math:pi"}, ["math:pi", "not an optimizer class"]),
        ({"groups": {"sten": {"learning_rate": 0.1}}}, ["'sten'", "stem.0", "head.weight"]),
        ({"groups": {"stem": {"rate": 0.1}}}, ["groups.stem.rate"]),
        ({"sam": {"rho": 0}}, ["rho"]),
    ],
)
def test_wrong_optimizers_are_explained(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make_optimizer(Net(), spec(**values), learning_rate=0.1, weight_decay=0.1)
    for word in words:
        assert word in str(caught.value)
