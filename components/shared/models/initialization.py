"""How the new linear layers of a head begin."""

import math
from collections.abc import Callable

from torch import nn


def _default(layer: nn.Linear) -> None:
    """Leave what torch chose: weight and bias uniform in +-1/sqrt(inputs)."""


def _xavier(layer: nn.Linear) -> None:
    """Weight Xavier-uniform (Glorot and Bengio, 2010), bias uniform in +-1/sqrt(inputs)."""
    bound = 1 / math.sqrt(layer.in_features)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.uniform_(layer.bias, -bound, bound)


def _xavier_constant(layer: nn.Linear) -> None:
    """Weight Xavier-uniform, bias 0.01."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.constant_(layer.bias, 0.01)


INITIALIZATIONS: dict[str, Callable[[nn.Linear], None]] = {
    "default": _default,
    "xavier": _xavier,
    "xavier_constant": _xavier_constant,
}
"""Name -> function that sets a linear layer's weight and bias."""


def new_linear(inputs: int, outputs: int, initialization: str) -> nn.Linear:
    """Make a linear layer that begins as the initialization of that name says."""
    layer = nn.Linear(inputs, outputs)
    INITIALIZATIONS[initialization](layer)
    return layer
