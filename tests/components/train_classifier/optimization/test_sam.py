"""Sharpness-aware minimization against a step written out by hand."""

import io
from collections.abc import Callable

import pytest
import torch
from torch import nn

from components.train_classifier.config.objective import OptimizerSpec, SamSpec
from components.train_classifier.optimization.optimizers import SharpnessAware, make_optimizer


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    loss: torch.Tensor = (model(inputs) - 1).square().mean()
    return loss


def sam_step(model: nn.Module, optimizer: SharpnessAware, step: int) -> None:
    optimizer.zero_grad()
    loss_of(model, step).backward()  # type: ignore[no-untyped-call]
    optimizer.perturb()
    optimizer.zero_grad()
    loss_of(model, step).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


BASES: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
}


@pytest.mark.parametrize("base", sorted(BASES))
@pytest.mark.parametrize("adaptive", [False, True])
def test_steps_equal_those_by_hand(base: str, adaptive: bool) -> None:
    ours, byhand = net(), net()
    optimizer = SharpnessAware(BASES[base](ours), rho=0.05, adaptive=adaptive)
    reference = BASES[base](byhand)
    weights = list(byhand.parameters())
    for step in range(4):
        sam_step(ours, optimizer, step)
        gradients = torch.autograd.grad(loss_of(byhand, step), weights)
        if adaptive:
            norm = sum(((w.detach() * g) ** 2).sum() for w, g in zip(weights, gradients, strict=True)) ** 0.5
            climbs = [0.05 * w.detach() ** 2 * g / norm for w, g in zip(weights, gradients, strict=True)]
        else:
            norm = sum((g**2).sum() for g in gradients) ** 0.5
            climbs = [0.05 * g / norm for g in gradients]
        before = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight, climb in zip(weights, climbs, strict=True):
                weight.add_(climb)
        reference.zero_grad()
        loss_of(byhand, step).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(old)
        reference.step()
        for found, expected in zip(ours.parameters(), weights, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_climb_has_the_length_rho_and_is_undone_exactly() -> None:
    model = net()
    optimizer = SharpnessAware(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3)
    before = [weight.detach().clone() for weight in model.parameters()]
    loss = loss_of(model, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.perturb()
    moved = torch.cat([(new - old).flatten() for new, old in zip(model.parameters(), before, strict=True)])
    assert float(moved.detach().norm()) == pytest.approx(0.3)
    assert float(loss_of(model, 0).detach()) > float(loss.detach())
    optimizer.restore()
    assert all(torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("bad", [float("inf"), float("nan"), 0.0])
def test_gradients_without_a_direction_make_no_climb(bad: float) -> None:
    model = net()
    optimizer = SharpnessAware(torch.optim.SGD(model.parameters(), lr=0.1))
    before = [weight.detach().clone() for weight in model.parameters()]
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, bad)
    optimizer.perturb()
    assert all(torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True))


def test_the_climb_does_not_depend_on_the_scale_of_the_loss() -> None:
    models = [net(), net()]
    for model, scale in zip(models, (1.0, 2.0**16), strict=True):
        (scale * loss_of(model, 0)).backward()  # type: ignore[no-untyped-call]
        SharpnessAware(torch.optim.SGD(model.parameters(), lr=0.1)).perturb()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_its_state_holds_the_moments_and_goes_on_exactly() -> None:
    spec = OptimizerSpec(name="Adam", sam=SamSpec())
    whole, broken = net(), net()
    optimizer = make_optimizer(whole, spec, learning_rate=0.01)
    assert isinstance(optimizer, SharpnessAware) and optimizer.rho == 0.05
    for step in range(6):
        sam_step(whole, optimizer, step)
    optimizer = make_optimizer(broken, spec, learning_rate=0.01)
    assert isinstance(optimizer, SharpnessAware)
    for step in range(3):
        sam_step(broken, optimizer, step)
    assert {"exp_avg", "exp_avg_sq"} <= optimizer.state_dict()["state"][0].keys()
    file = io.BytesIO()
    torch.save((broken.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed = net(seed=5)
    resumed.load_state_dict(weights)
    optimizer = make_optimizer(resumed, spec, learning_rate=0.01)
    optimizer.load_state_dict(state)
    assert isinstance(optimizer, SharpnessAware)
    for step in range(3, 6):
        sam_step(resumed, optimizer, step)
    for found, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_no_state_is_taken_of_perturbed_weights() -> None:
    model = net()
    optimizer = SharpnessAware(torch.optim.SGD(model.parameters(), lr=0.1))
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.perturb()
    with pytest.raises(AssertionError):
        optimizer.state_dict()
    with pytest.raises(AssertionError):
        optimizer.perturb()
