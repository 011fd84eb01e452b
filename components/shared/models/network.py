"""The part that training, evaluation and export share: pixels in, logits or probabilities out."""

from collections.abc import Sequence

import torch
from torch import nn

from components.shared.models.classifiers import build_classifier
from serving.runtime.card import Head, Normalization


class Network(nn.Module):
    """A backbone behind its input convention: uint8 (N,h,w,3) RGB -> logits (N,outputs).

    Normalises with the per-channel mean and standard deviation (0..1 scale). The logits of several heads lie
    side by side in head order, so one linear layer serves them all.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.backbone = backbone
        # Constants of the model, restored from the facts in the checkpoint and not from its weights.
        self.register_buffer("mean", 255 * torch.tensor(normalization.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(normalization.std).view(3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N,h,w,3) RGB -> float32 logits (N,outputs)."""
        pixels = images.permute(0, 3, 1, 2).to(self.mean.dtype)  # the permuted view is already channels-last
        logits: torch.Tensor = self.backbone((pixels - self.mean) / self.std)
        return logits


class HeadProbabilities(nn.Module):
    """What is exported: uint8 (N,h,w,3) RGB -> one softmax (N,K) per head, in head order."""

    def __init__(self, network: Network, sizes: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.sizes = tuple(sizes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 (N,h,w,3) RGB -> a tuple of float32 (N,K) whose rows sum to 1."""
        return head_probabilities(self.network(images), self.sizes)


def head_probabilities(logits: torch.Tensor, sizes: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Split logits (N,sum(sizes)) into heads of the given sizes and apply softmax to each."""
    return tuple(torch.softmax(part, dim=1) for part in torch.split(logits, list(sizes), dim=1))


def build_network(model: str, heads: Sequence[Head], normalization: Normalization) -> Network:
    """Build the backbone `model` with one output per label of all heads, behind the input convention."""
    return Network(build_classifier(model, sum(len(head.labels) for head in heads)), normalization)
