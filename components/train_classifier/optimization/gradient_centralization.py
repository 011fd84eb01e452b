"""Gradient centralization (Yong et al., 2020)."""

from typing import Any

import torch


def centralize(gradient: torch.Tensor) -> None:
    """Subtract, in place, from each output filter its mean: over all dimensions but the first.

    Gradients with fewer than two dimensions (biases, normalization weights) stay as they are.
    """
    if gradient.ndim > 1:
        gradient.sub_(gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True))


def centralize_before_steps(optimizer: torch.optim.Optimizer) -> None:
    """Make every step of `optimizer` centralize the gradients first. Steps with a closure are not supported."""

    def hook(stepping: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert len(args) == 1 and not kwargs, "a closure would compute gradients after they were centralized"
        for group in stepping.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    centralize(parameter.grad)

    optimizer.register_step_pre_hook(hook)
