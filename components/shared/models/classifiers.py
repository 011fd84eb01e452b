"""Backbones by name. Imports no torch until one is built, so configs can check names cheaply."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from serving.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def _resnet18(outputs: int) -> "nn.Module":
    """ResNet-18 (He et al., 2016) from random weights; any input size."""
    from torchvision.models import resnet18

    model: nn.Module = resnet18(weights=None, num_classes=outputs)
    return model


def _base(outputs: int) -> "nn.Module":
    from components.shared.models.base_cnn import BaseCnn

    return BaseCnn(outputs)


CLASSIFIERS: dict[str, "Callable[[int], nn.Module]"] = {"base": _base, "resnet18": _resnet18}
"""Name -> function from the number of outputs to a module: float (N,3,h,w) -> logits (N,outputs)."""


def check_classifier(name: str) -> str:
    """Return `name` if it is a known backbone; InputError lists the known ones otherwise."""
    if name not in CLASSIFIERS:
        raise InputError(f"unknown model '{name}'; known: {', '.join(sorted(CLASSIFIERS))}")
    return name


def build_classifier(name: str, outputs: int) -> "nn.Module":
    """Build the backbone `name` with random weights and `outputs` logits.

    The result maps float (N,3,h,w) normalised RGB to float (N,outputs). Raises InputError for an unknown name.
    """
    return CLASSIFIERS[check_classifier(name)](outputs)
