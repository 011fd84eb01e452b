"""Layers of both the window attention and the vision transformer."""

import torch
from torch import nn
from torch.nn import functional


def new_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with the initial values of `reset_linear`."""
    layer = nn.Linear(inputs, outputs)
    reset_linear(layer)
    return layer


def reset_linear(layer: nn.Linear) -> None:
    """Initialize as in the ViT and Swin papers: weights truncated normal of deviation 0.02, bias 0."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)


class Mlp(nn.Module):
    """Two linear layers, four times wider inside, with the exact GELU: float (..., dim) -> (..., dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = new_linear(dim, 4 * dim)
        self.fc2 = new_linear(4 * dim, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Float (..., dim) -> (..., dim)."""
        mixed: torch.Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return mixed
