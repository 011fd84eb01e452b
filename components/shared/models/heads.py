"""Heads: modules from features (N,F) to the concatenated logits of all label heads, (N,sum K)."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from components.shared.models.spec import HeadSpec

_SMALLEST = 1e-12


class MultiSampleDropout(nn.Module):
    """The mean of one layer's outputs over several dropouts of its input; the plain layer in evaluation."""

    def __init__(self, layer: nn.Module, samples: int, dropout: float) -> None:
        super().__init__()
        self.layer = layer
        self.samples = samples
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float (N,F) -> (N,K)."""
        outputs: torch.Tensor
        if self.training:
            dropped = [functional.dropout(features, self.dropout) for _ in range(self.samples)]
            outputs = torch.stack([self.layer(sample) for sample in dropped]).mean(dim=0)
        else:
            outputs = self.layer(features)
        return outputs


class ScaledCosine(nn.Module):
    """`scale` times the cosines between features and class vectors: the logits of ArcFace without a margin."""

    def __init__(self, features: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, features))
        nn.init.xavier_uniform_(self.weight)
        self.scale = scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float (N,F) -> (N,K) from -scale to scale."""
        return self.scale * functional.linear(functional.normalize(features), functional.normalize(self.weight))


class OneLogit(nn.Module):
    """A layer's one logit z as the two logits [0, z]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float (N,F) -> (N,2)."""
        logit: torch.Tensor = self.layer(features)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


class ConcatenatedHeads(nn.Module):
    """Several heads on the same features, their logits concatenated."""

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float (N,F) -> (N,sum K)."""
        return torch.cat([head(features) for head in self.heads], dim=1)


def _linear(inputs: int, outputs: int, initialization: str) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    if initialization != "default":  # torch's: weight and bias uniform in +-1/sqrt(inputs)
        nn.init.xavier_uniform_(layer.weight)  # Glorot and Bengio, 2010
    if initialization == "xavier":
        nn.init.uniform_(layer.bias, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
    elif initialization == "xavier_constant":
        nn.init.constant_(layer.bias, 0.01)
    return layer


def _one_head(features: int, outputs: int, spec: HeadSpec) -> nn.Module:
    if spec.kind == "arcface":
        return ScaledCosine(features, outputs, spec.scale)
    if spec.kind == "hidden":
        first = _linear(features, spec.hidden, spec.initialization)
        last = _linear(spec.hidden, outputs, spec.initialization)
        return nn.Sequential(first, nn.Dropout(spec.dropout), nn.ReLU(), last)
    layer = _linear(features, outputs, spec.initialization)
    if spec.kind == "dropout":
        return nn.Sequential(nn.Dropout(spec.dropout), layer)
    return MultiSampleDropout(layer, spec.samples, spec.dropout) if spec.kind == "multi_sample_dropout" else layer


def make_head(features: int, specs: Sequence[HeadSpec], sizes: Sequence[int]) -> nn.Module:
    """Make the module of all label heads, `sizes` being the numbers of their labels.

    Label heads with equal specifications share their layers; otherwise each has its own.
    """
    if len(set(specs)) == 1 and not specs[0].one_logit:
        return _one_head(features, sum(sizes), specs[0])
    heads = [
        OneLogit(_one_head(features, 1, spec)) if spec.one_logit else _one_head(features, size, spec)
        for spec, size in zip(specs, sizes, strict=True)
    ]
    return heads[0] if len(heads) == 1 else ConcatenatedHeads(heads)


def with_margin(logits: torch.Tensor, targets: torch.Tensor, spec: HeadSpec) -> torch.Tensor:
    """Add the angular margin of ArcFace to the true class, for the loss of a training step.

    With cos = logits / scale and t the target: scale * (t * phi + (1 - t) * cos), where phi = cos(theta + margin) as
    long as theta + margin stays below pi and cos - sin(pi - margin) * margin beyond; with `easy_margin` phi is
    cos(theta + margin) where cos > 0 and cos elsewhere (Deng et al., 2019, arXiv 1801.07698).

    Args:
        logits: float (N,K) from -scale to scale.
        targets: float (N,K) whose rows sum to 1; one-hot for a hard label.
        spec: the head.
    """
    cosine = logits.float() / spec.scale
    sine = (1 - cosine.square()).clamp(min=_SMALLEST).sqrt()
    phi = cosine * math.cos(spec.margin) - sine * math.sin(spec.margin)
    if spec.easy_margin:
        phi = torch.where(cosine > 0, phi, cosine)
    else:
        beyond = cosine - math.sin(math.pi - spec.margin) * spec.margin
        phi = torch.where(cosine > math.cos(math.pi - spec.margin), phi, beyond)
    return spec.scale * (targets * phi + (1 - targets) * cosine)
