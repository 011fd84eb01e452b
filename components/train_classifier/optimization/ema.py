"""The exponential moving average of a model's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

ModelT = TypeVar("ModelT", bound=nn.Module)


class MovingAverage(Generic[ModelT]):
    """A copy of a model whose weights follow it with the given decay.

    The decay of update t is min(decay, (1 + t) / (10 + t)), so that the random start is forgotten in short
    trainings. Floating-point buffers (batch-norm statistics) are averaged too, counters are copied.
    """

    def __init__(self, model: ModelT, decay: float) -> None:
        self.model: ModelT = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: ModelT) -> None:
        """Move the average toward the weights of `model`."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        average, source = self.model.state_dict(), model.state_dict()
        floating = [name for name, value in average.items() if value.is_floating_point()]
        torch._foreach_lerp_([average[name] for name in floating], [source[name] for name in floating], 1 - decay)
        for name in average.keys() - floating:
            average[name].copy_(source[name])
