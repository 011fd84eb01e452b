"""Pictures and targets of a training step: MixUp, CutMix, the half-face band, and pseudo-labels.

Pictures are (N,h,w,C) with any numbers, targets soft float (N,K) per head. A face is mixed with a partner of the same
batch, whose share is the ratio r; a mixed target is (1-r) * own + r * partner: for a loss that is linear in the target,
that mixes both losses alike.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from components.train_classifier.config.objective import MixingSpec, PseudoLabelSpec

_MIXING_STREAM = 4


class Mixed(NamedTuple):
    """A batch after mixing; `ratio` is the share of the partner, 0 where nothing was mixed."""

    images: torch.Tensor
    targets: list[torch.Tensor]
    ratio: float


def mixing_rng(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Return the generator of a batch's draws: the same in every process, so that all mix in the same way."""
    return np.random.default_rng((_MIXING_STREAM, seed, epoch, step))


def mix(images: torch.Tensor, targets: Sequence[torch.Tensor], spec: MixingSpec, rng: np.random.Generator) -> Mixed:
    """Mix a batch with itself in random order, or return it as it is with probability 1 - `spec.probability`.

    MixUp returns float32 pictures, the others keep the type. The inputs are not changed.
    """
    if spec.name == "none" or rng.random() >= spec.probability:
        return Mixed(images, list(targets), 0.0)
    kind, first, second = spec.distribution
    ratio = float(rng.uniform(first, second) if kind == "uniform" else rng.beta(first, second))
    order = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    mixed, ratio = MIXINGS[spec.name](images, images[order], ratio, rng)
    return Mixed(mixed, mix_targets(targets, order, ratio), ratio)


def mix_targets(targets: Sequence[torch.Tensor], order: torch.Tensor, ratio: float) -> list[torch.Tensor]:
    """Return (1-r) * own + r * partner, the partners of a batch being its faces in this order (N,)."""
    return [(1 - ratio) * own + ratio * own[order] for own in targets]


Pasted = tuple[torch.Tensor, float]  # mixed pictures, share of the partner


def mixup(images: torch.Tensor, partners: torch.Tensor, ratio: float, rng: np.random.Generator) -> Pasted:
    """Blend whole pictures: (1-r) * own + r * partner (Zhang et al., 2018)."""
    return (1 - ratio) * images.to(torch.float32) + ratio * partners.to(torch.float32), ratio


def cutmix(images: torch.Tensor, partners: torch.Tensor, ratio: float, rng: np.random.Generator) -> Pasted:
    """Paste a rectangle of the partner at the same coordinates (Yun et al., 2019).

    It has the picture's aspect and the share `ratio` of its area, lies around a random pixel and ends at the border.
    The ratio that is returned is the share of pixels that were pasted.
    """
    height, width = images.shape[1:3]
    half_height, half_width = int(height * ratio**0.5) // 2, int(width * ratio**0.5) // 2
    row, column = int(rng.integers(height)), int(rng.integers(width))
    rows = slice(max(0, row - half_height), min(height, row + half_height))
    columns = slice(max(0, column - half_width), min(width, column + half_width))
    return _paste(images, partners, rows, columns)


def band(images: torch.Tensor, partners: torch.Tensor, ratio: float, rng: np.random.Generator) -> Pasted:
    """Paste a full-height band of the partner, `ratio` of the width, at the left or at the right side.

    The ratio that is returned is the share of whole columns.
    """
    height, width = images.shape[1:3]
    pasted = round(ratio * width)
    columns = slice(0, pasted) if rng.random() < 0.5 else slice(width - pasted, width)
    return _paste(images, partners, slice(0, height), columns)


def _paste(images: torch.Tensor, partners: torch.Tensor, rows: slice, columns: slice) -> Pasted:
    mixed = images.clone()
    mixed[:, rows, columns] = partners[:, rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, area / (images.shape[1] * images.shape[2])


MIXINGS: dict[str, Callable[..., Pasted]] = {"band": band, "cutmix": cutmix, "mixup": mixup}
"""Name -> function of pictures, those of each one's partner, ratio and the generator of further draws."""


def pseudo_weight(spec: PseudoLabelSpec, batch: int) -> float:
    """Return the weight of the unlabeled faces' loss in batch number `batch` of the training, from 0."""
    counter = batch // spec.every
    if not spec.enabled or counter < spec.start:
        return 0.0
    if counter >= spec.end:
        return spec.weight
    return spec.weight * (counter - spec.start) / (spec.end - spec.start)


@torch.no_grad()
def pseudo_targets(network: nn.Module, images: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
    """Label `images` with the most likely class of each head (Lee, 2013): one-hot float (N,K) per head of these sizes.

    The network runs in evaluation mode, so that the labels do not depend on the batch and its statistics do not
    change; then each module returns to the mode it was in.
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
