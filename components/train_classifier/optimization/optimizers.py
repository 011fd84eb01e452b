"""Optimizers by name, with parameter groups, gradient centralization and sharpness-aware minimization."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from components.shared.options import by_name, check_arguments
from components.train_classifier.config.objective import CENTRALIZED, OPTIMIZERS, GroupSpec, OptimizerSpec
from serving.runtime.errors import InputError

_FUSED = ("Adam", "AdamW", "SGD")
_IMPLEMENTATIONS = ("fused", "foreach", "differentiable", "capturable")


class SGDW(torch.optim.SGD):
    """SGD with decoupled weight decay: a step also shrinks weights by rate * decay (Loshchilov and Hutter, 2019)."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Shrink the weights that have a gradient, then step as SGD without decay."""
        assert closure is None
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * decay)
            group["weight_decay"] = 0.0
        try:
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay


class SharpnessAware:
    """Wraps an optimizer, which steps with the gradient at perturbed weights; each step takes two passes.

    Sharpness-aware minimization (Foret et al., 2021; adaptive form: Kwon et al., 2021).

        loss(network(images)).backward()
        optimizer.perturb()                # to w + rho * g / |g|
        optimizer.zero_grad()
        loss(network(images)).backward()
        optimizer.step()                   # back to w, then a step of the wrapped optimizer

    With a GradScaler call `restore` and then `scaler.step(optimizer.base)`: the perturbation does not depend on the
    scale of the gradients, and gradients that overflowed cause none. Its state is that of the wrapped optimizer.
    """

    def __init__(self, base: torch.optim.Optimizer, rho: float = 0.05, *, adaptive: bool = False) -> None:
        self.base = base
        self.rho = rho
        self.adaptive = adaptive
        self._weights: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of the wrapped optimizer."""
        return self.base.param_groups

    @torch.no_grad()
    def perturb(self) -> None:
        """Move the weights w to w + rho * g / |g|; the adaptive form has w^2 * g / |w * g| instead of g / |g|."""
        assert not self._weights, "the weights are perturbed already"
        moved = [weight for group in self.base.param_groups for weight in group["params"] if weight.grad is not None]
        if not moved:
            return
        gradients = [weight.grad for weight in moved if weight.grad is not None]
        if self.adaptive:
            gradients = [weight.abs() * gradient for weight, gradient in zip(moved, gradients, strict=True)]
        norm = torch.stack([gradient.norm().to(moved[0].device) for gradient in gradients]).norm()
        scale = self.rho / (norm + 1e-12)
        for weight, gradient in zip(moved, gradients, strict=True):
            self._weights.append((weight, weight.clone()))
            step = gradient * scale.to(weight.device)
            if self.adaptive:
                step *= weight.abs()
            weight.add_(torch.nan_to_num(step, 0.0, 0.0, 0.0))

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the weights before `perturb`."""
        for weight, before in self._weights:
            weight.copy_(before)
        self._weights.clear()

    def step(self) -> None:
        """Restore the weights and step with the gradients at the perturbed ones."""
        self.restore()
        self.base.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.base.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the wrapped optimizer; between steps there is no other."""
        assert not self._weights, "the weights are perturbed: step or restore first"
        return self.base.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of the wrapped optimizer."""
        self.base.load_state_dict(state)


def centralize(gradient: torch.Tensor) -> None:
    """Subtract, in place, from each output filter its mean over all dimensions but the first (Yong et al., 2020).

    Gradients with fewer than two dimensions (biases, normalization weights) stay as they are.
    """
    if gradient.ndim > 1:
        gradient.sub_(gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True))


def _centralize_all(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Centralize the gradients of `optimizer`: a hook that runs before each step."""
    assert len(args) == 1 and not kwargs, "a closure would compute gradients after they were centralized"
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                centralize(parameter.grad)


def make_optimizer(
    module: nn.Module, spec: OptimizerSpec, *, learning_rate: float, weight_decay: float | None = None
) -> torch.optim.Optimizer | SharpnessAware:
    """Return the optimizer of the parameters of `module` that are not frozen.

    Args:
        module: what is trained; the prefixes in `spec.groups` are matched with its parameter names.
        spec: which optimizer.
        learning_rate: of all parameters whose group sets no other.
        weight_decay: likewise; None for the default of the class.

    Raises:
        InputError: an unknown name, an argument that the class does not have or does not accept, a group without
            parameters, or nothing to train.
    """
    name = spec.name.removesuffix(CENTRALIZED) if ":" not in spec.name else spec.name
    optimizer_class: Any = by_name("optimizer", name, OPTIMIZERS)
    subject = f"optimizer '{spec.name}'"
    if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, torch.optim.Optimizer)):
        raise InputError(f"{subject} is not an optimizer class")
    for argument, setting in (("lr", "learning_rate"), ("weight_decay", "weight_decay")):
        if argument in spec.arguments:
            raise InputError(f"{subject}: '{setting}' is a setting of its own, not one of the arguments")
    check_arguments(subject, optimizer_class, spec.arguments, reserved=("params", "lr"))
    arguments = dict(spec.arguments)
    if name in _FUSED and not any(choice in arguments for choice in _IMPLEMENTATIONS):
        arguments["fused"] = True
    groups = list(_parameter_groups(module, spec, weight_decay))
    if "weight_decay" not in inspect.signature(optimizer_class).parameters:
        if any(group.get("weight_decay") for group in groups):
            raise InputError(f"{subject} has no weight decay: set weight_decay to 0")
        for group in groups:
            group.pop("weight_decay", None)
    make: Callable[..., torch.optim.Optimizer] = optimizer_class
    try:
        optimizer = make(groups, lr=learning_rate, **arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{subject} with {arguments}: {error}") from error
    if spec.gradient_centralization or name != spec.name:
        optimizer.register_step_pre_hook(_centralize_all)
    return optimizer if spec.sam is None else SharpnessAware(optimizer, spec.sam.rho, adaptive=spec.sam.adaptive)


def _parameter_groups(module: nn.Module, spec: OptimizerSpec, weight_decay: float | None) -> Iterator[dict[str, Any]]:
    """Yield the groups: parameters without a prefix, then prefix by prefix; each first with, then without decay."""
    members: dict[str, list[nn.Parameter]] = {"": [], **{prefix: [] for prefix in spec.groups}}
    names = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            names.append(name)
            members[_longest_prefix(name, spec.groups)].append(parameter)
    if not names:
        raise InputError("there is nothing to train: every parameter of the network is frozen")
    for prefix, parameters in members.items():
        group = spec.groups.get(prefix, GroupSpec())
        if prefix and not parameters:
            parts = sorted({".".join(name.split(".")[:2]) for name in names})
            raise InputError(f"optimizer group '{prefix}' matches no trainable parameter; known: {', '.join(parts)}")
        rate = {} if group.learning_rate is None else {"lr": group.learning_rate}
        decay = weight_decay if group.weight_decay is None else group.weight_decay
        decayed = [parameter for parameter in parameters if parameter.ndim > 1 or spec.decay_all]
        free = [parameter for parameter in parameters if not (parameter.ndim > 1 or spec.decay_all)]
        if decayed:
            yield {"params": decayed, **rate, **({} if decay is None else {"weight_decay": decay})}
        if free:
            yield {"params": free, **rate, "weight_decay": 0.0}


def _longest_prefix(name: str, groups: Mapping[str, GroupSpec]) -> str:
    matching = [prefix for prefix in groups if name == prefix or name.startswith(f"{prefix}.")]
    return max(matching, key=len, default="")
