"""Heads: modules from features (N,F) to the logits of all label heads side by side, (N,sum K)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from components.shared.models.initialization import new_linear
from components.shared.models.spec.spec import HeadSpec

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


class SideBySide(nn.Module):
    """Several heads on the same features."""

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float (N,F) -> (N,sum K)."""
        return torch.cat([head(features) for head in self.heads], dim=1)


def _linear(features: int, outputs: int, spec: HeadSpec) -> nn.Module:
    return new_linear(features, outputs, spec.initialization)


def _hidden(features: int, outputs: int, spec: HeadSpec) -> nn.Module:
    return nn.Sequential(
        new_linear(features, spec.hidden, spec.initialization),
        nn.Dropout(spec.dropout),
        nn.ReLU(),
        new_linear(spec.hidden, outputs, spec.initialization),
    )


def _dropout(features: int, outputs: int, spec: HeadSpec) -> nn.Module:
    return nn.Sequential(nn.Dropout(spec.dropout), _linear(features, outputs, spec))


def _multi_sample_dropout(features: int, outputs: int, spec: HeadSpec) -> nn.Module:
    return MultiSampleDropout(_linear(features, outputs, spec), spec.samples, spec.dropout)


def _arcface(features: int, outputs: int, spec: HeadSpec) -> nn.Module:
    return ScaledCosine(features, outputs, spec.scale)


HEADS: dict[str, Callable[[int, int, HeadSpec], nn.Module]] = {
    "linear": _linear,
    "hidden": _hidden,
    "dropout": _dropout,
    "multi_sample_dropout": _multi_sample_dropout,
    "arcface": _arcface,
}
"""Kind -> function from the numbers of features and outputs and the head's entries to a module."""


def make_head(features: int, specs: Sequence[HeadSpec], sizes: Sequence[int]) -> nn.Module:
    """Make the head of all label heads, `sizes` the numbers of their labels.

    Label heads that are all alike share their layers; otherwise each has its own.
    """
    if len(set(specs)) == 1 and not specs[0].one_logit:
        return HEADS[specs[0].kind](features, sum(sizes), specs[0])
    heads = [
        OneLogit(HEADS[spec.kind](features, 1, spec)) if spec.one_logit else HEADS[spec.kind](features, size, spec)
        for spec, size in zip(specs, sizes, strict=True)
    ]
    return heads[0] if len(heads) == 1 else SideBySide(heads)


def with_margin(logits: torch.Tensor, targets: torch.Tensor, spec: HeadSpec) -> torch.Tensor:
    """Turn the scaled cosines of an ArcFace head into what it trains on: the true class at a larger angle.

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
