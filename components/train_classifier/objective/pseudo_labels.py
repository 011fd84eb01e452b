"""Labels from the network itself for faces that have none (Lee, 2013)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from components.train_classifier.config.objective import PseudoLabelSpec
from components.train_classifier.data.sampling import Indices, in_turn

_PSEUDO_STREAM = 5


def pseudo_weight(spec: PseudoLabelSpec, batch: int) -> float:
    """Return the weight of the unlabeled faces' loss in batch number `batch` of the training, from 0."""
    counter = batch // spec.every
    if not spec.enabled or counter < spec.start:
        return 0.0
    if counter >= spec.end:
        return spec.weight
    return spec.weight * (counter - spec.start) / (spec.end - spec.start)


def unlabeled_share(spec: PseudoLabelSpec, batch_size: int) -> int:
    """Return how many faces of a batch are unlabeled: at least one, and at least one is not."""
    return min(max(round(spec.share * batch_size), 1), batch_size - 1) if spec.enabled else 0


def unlabeled_order(count: int, needed: int, *, seed: int, epoch: int) -> Indices:
    """Return `needed` of `count` unlabeled faces for an epoch: all of them in turn, in random order."""
    return in_turn(np.arange(count), needed, np.random.default_rng((_PSEUDO_STREAM, seed, epoch)))


@torch.no_grad()
def pseudo_targets(network: nn.Module, images: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
    """Label `images` with the most likely class of each head: one-hot float (N,K) per head of the given sizes.

    The network runs in evaluation mode, so that the labels do not depend on the batch and its statistics do not
    move; each of its modules is put back into the mode it was in.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        logits = network(images)
    finally:
        for module, mode in modes:
            module.training = mode
    parts = torch.split(logits, list(sizes), dim=1)
    return [functional.one_hot(part.argmax(dim=1), part.shape[1]).to(torch.float32) for part in parts]
