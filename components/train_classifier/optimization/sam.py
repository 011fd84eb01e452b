"""Sharpness-aware minimization (Foret et al., 2021; adaptive form: Kwon et al., 2021)."""

from typing import Any

import torch


class SharpnessAware:
    """Wraps an optimizer, which steps with the gradient at perturbed weights; each step takes two passes.

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
