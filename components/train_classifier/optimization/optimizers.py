"""Optimizers by name: every one of torch's that learns from one dense gradient per step, and SGDW."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from components.shared.by_name import by_name, check_arguments
from components.train_classifier.config.objective import GroupSpec, OptimizerSpec
from components.train_classifier.optimization.gradient_centralization import centralize_before_steps
from components.train_classifier.optimization.sam import SharpnessAware
from serving.runtime.errors import InputError


class SGDW(torch.optim.SGD):
    """SGD whose weight decay is no part of the gradient: w shrinks by rate * decay (Loshchilov and Hutter, 2019)."""

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


_UNUSABLE = {
    "LBFGS": "it computes the loss many times in one step, and here a step has one batch and one gradient",
    "SparseAdam": "it takes sparse gradients only, and those of an image classifier are dense",
}

_FUSED = ("Adam", "AdamW", "SGD")
_IMPLEMENTATIONS = ("fused", "foreach", "differentiable", "capturable")


def _torch_optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    classes = {name: value for name, value in vars(torch.optim).items() if isinstance(value, type)}
    return {
        name: value
        for name, value in classes.items()
        if issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer and name not in _UNUSABLE
    }


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {**_torch_optimizers(), "SGDW": SGDW}
"""Name -> class. `_GC` behind a name adds gradient centralization."""


def make_optimizer(
    module: nn.Module, spec: OptimizerSpec, *, learning_rate: float, weight_decay: float | None = None
) -> torch.optim.Optimizer | SharpnessAware:
    """Return the optimizer of the parameters of `module` that are not frozen.

    Args:
        module: what is trained; its parameter names are what the prefixes in `spec.groups` are held against.
        spec: which optimizer.
        learning_rate: of all parameters whose group says nothing else.
        weight_decay: likewise; None for what the class does by itself.

    Raises:
        InputError: an unknown name, an argument that the class does not have or does not accept, a group without
            parameters, or nothing to train.
    """
    short = spec.name.removesuffix("_GC") if ":" not in spec.name else spec.name
    if short in _UNUSABLE:
        raise InputError(f"optimizer '{short}' cannot be used: {_UNUSABLE[short]}; take AdamW or SGD")
    kind: Any = by_name("optimizer", short, OPTIMIZERS)
    what = f"optimizer '{spec.name}'"
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise InputError(f"{what} is no class of optimizers")
    for name, own in (("lr", "learning_rate"), ("weight_decay", "weight_decay")):
        if name in spec.arguments:
            raise InputError(f"{what}: write '{own}' as a setting of its own, not among the arguments")
    check_arguments(what, kind, spec.arguments, given=("params", "lr"))
    arguments = dict(spec.arguments)
    if short in _FUSED and not any(name in arguments for name in _IMPLEMENTATIONS):
        arguments["fused"] = True
    groups = list(_parameter_groups(module, spec, weight_decay))
    if "weight_decay" not in inspect.signature(kind).parameters:
        if any(group.get("weight_decay") for group in groups):
            raise InputError(f"{what} knows no weight decay: set weight_decay to 0")
        for group in groups:
            group.pop("weight_decay", None)
    make: Callable[..., torch.optim.Optimizer] = kind
    try:
        optimizer = make(groups, lr=learning_rate, **arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{what} with {arguments}: {error}") from error
    if spec.gradient_centralization or short != spec.name:
        centralize_before_steps(optimizer)
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
            raise InputError(f"optimizer group '{prefix}' fits no trainable parameter; there are: {', '.join(parts)}")
        rate = {} if group.learning_rate is None else {"lr": group.learning_rate}
        decay = weight_decay if group.weight_decay is None else group.weight_decay
        decayed = [parameter for parameter in parameters if parameter.ndim > 1 or spec.decay_all]
        free = [parameter for parameter in parameters if not (parameter.ndim > 1 or spec.decay_all)]
        if decayed:
            yield {"params": decayed, **rate, **({} if decay is None else {"weight_decay": decay})}
        if free:
            yield {"params": free, **rate, "weight_decay": 0.0}


def _longest_prefix(name: str, groups: Mapping[str, GroupSpec]) -> str:
    fitting = [prefix for prefix in groups if name == prefix or name.startswith(f"{prefix}.")]
    return max(fitting, key=len, default="")
