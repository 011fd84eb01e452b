"""The network of training, evaluation and export: from uint8 images to logits or probabilities."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

from components.shared.models.backbones import attach_head, build_backbone, freeze
from components.shared.models.heads import make_head, with_margin
from components.shared.models.pretrained import load_pretrained as load_weights
from components.shared.models.spec import IMAGENET, NONE, HeadSpec, ModelSpec, head_specs, resolve_model
from serving.runtime.card import Head, Normalization

_IMAGENET_CLASSES = 1000


class Network(nn.Module):
    """Normalization, backbone and head: uint8 (N,h,w,3) RGB -> logits (N,outputs).

    Normalizes with the per-channel mean and standard deviation (0..1 scale). The logits of several label heads are
    concatenated in head order. Modules named in `frozen` stay in evaluation mode, so that training does not change
    their batch norm statistics.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: nn.Module,
        normalization: Normalization,
        *,
        specs: Sequence[HeadSpec],
        sizes: Sequence[int],
        head_path: str,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.specs = tuple(specs)
        self.sizes = tuple(sizes)
        self.head_path = f"backbone.{head_path}"
        self.frozen = tuple(f"backbone.{name}" for name in frozen)
        # Not persistent: restored from the checkpoint's metadata, not from its weights.
        self.register_buffer("mean", 255 * torch.tensor(normalization.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(normalization.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules that are not frozen."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N,h,w,3) RGB -> float32 logits (N,outputs), those of ArcFace heads scaled and without a margin."""
        pixels = images.permute(0, 3, 1, 2).to(self.mean.dtype)  # the permuted view is already channels-last
        logits: torch.Tensor = self.backbone((pixels - self.mean) / self.std)
        return logits

    def margin_logits(self, logits: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits for the loss of a training step: ArcFace heads get their margin.

        Args:
            logits: the output of `forward`, (N,outputs).
            targets: one float (N,K) per head, rows summing to 1.

        Returns:
            (N,outputs); `logits` itself in evaluation mode and where no head is ArcFace.
        """
        if not self.training or all(spec.kind != "arcface" for spec in self.specs):
            return logits
        parts = torch.split(logits, list(self.sizes), dim=1)
        return torch.cat(
            [
                with_margin(part, target, spec) if spec.kind == "arcface" else part
                for part, target, spec in zip(parts, targets, self.specs, strict=True)
            ],
            dim=1,
        )


class HeadProbabilities(nn.Module):
    """The exported module: uint8 (N,h,w,3) RGB -> one softmax (N,K) per head, in head order."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 (N,h,w,3) RGB -> a tuple of float32 (N,K) whose rows sum to 1."""
        return head_probabilities(self.network(images), self.network.sizes)


def head_probabilities(logits: torch.Tensor, sizes: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Split logits (N,sum(sizes)) into heads of the given sizes and apply softmax to each."""
    return tuple(torch.softmax(part, dim=1) for part in torch.split(logits, list(sizes), dim=1))


def build_network(
    model: str | ModelSpec, heads: Sequence[Head], normalization: Normalization, *, load_pretrained: bool = True
) -> Network:
    """Build the network of a model, with one logit per label of all heads, in training mode.

    Without `load_pretrained` all weights are random, for a state dict that is loaded afterwards.

    Raises:
        InputError: an unknown name or argument, a head that does not fit the label space, a freeze policy that does
            not fit the backbone, or weights that cannot be loaded.
        StorageError: the weights file cannot be read.
    """
    spec = resolve_model(model)
    specs, sizes = head_specs(spec, heads), [len(head.labels) for head in heads]
    outputs = _IMAGENET_CLASSES if spec.keep_classes else sum(sizes)
    backbone = build_backbone(spec.backbone, outputs, spec.arguments, imagenet=spec.pretrained == IMAGENET)
    location = attach_head(
        backbone,
        outputs,
        lambda features: make_head(features, specs, sizes),
        keep_classes=spec.keep_classes,
        plain=all(head == HeadSpec() for head in specs),
    )
    if load_pretrained and (spec.pretrained != NONE or spec.parts):
        load_weights(backbone, spec, location, heads)
    frozen = freeze(backbone, spec.freeze, location.head)
    return Network(backbone, normalization, specs=specs, sizes=sizes, head_path=location.head, frozen=frozen)
