"""The objective: cross entropy per head, summed."""

from collections.abc import Sequence

import torch
from torch.nn import functional


def heads_loss(
    logits: torch.Tensor, targets: torch.Tensor, sizes: Sequence[int], label_smoothing: float = 0.0
) -> torch.Tensor:
    """Sum over heads of the mean cross entropy with smoothed targets.

    `logits` is (N,sum(sizes)) with the heads side by side and `targets` int64 (N,heads). Smoothing s gives the
    true class 1 - s + s/K and every other class s/K (Szegedy et al., 2016).
    """
    parts = torch.split(logits, list(sizes), dim=1)
    losses = [
        functional.cross_entropy(part, targets[:, head], label_smoothing=label_smoothing)
        for head, part in enumerate(parts)
    ]
    return torch.stack(losses).sum()


def correct(logits: torch.Tensor, targets: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Return bool (N,): is every head's most likely label the true one."""
    guesses = [part.argmax(dim=1) for part in torch.split(logits, list(sizes), dim=1)]
    return (torch.stack(guesses, dim=1) == targets).all(dim=1)
