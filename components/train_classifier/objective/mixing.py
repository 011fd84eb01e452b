"""Mixing two faces into one picture and one target: MixUp, CutMix and the half-face band.

Pictures are (N,h,w,C) with any numbers, targets soft float (N,K) per head. The ratio is the partner's share r, and a
mixed target is (1-r) * own + r * partner: for a loss that is linear in the target, that mixes both losses alike.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from components.train_classifier.config.objective import MixingSpec

_MIXING_STREAM = 4


class Mixed(NamedTuple):
    """A batch after mixing; `ratio` is the share of the partner, 0 where nothing was mixed."""

    images: torch.Tensor
    targets: list[torch.Tensor]
    ratio: float


def mixing_rng(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Return the source of a batch's draws: the same for every process, so that all mix in the same way."""
    return np.random.default_rng((_MIXING_STREAM, seed, epoch, step))


def mix(images: torch.Tensor, targets: Sequence[torch.Tensor], spec: MixingSpec, rng: np.random.Generator) -> Mixed:
    """Mix a batch with itself in random order, or return it as it is with probability 1 - `spec.probability`.

    MixUp returns float32 pictures, the others keep the type. The inputs are not changed.
    """
    if spec.name == "none" or rng.random() >= spec.probability:
        return Mixed(images, list(targets), 0.0)
    kind, first, second = spec.distribution
    ratio = float(rng.uniform(first, second) if kind == "uniform" else rng.beta(first, second))
    return MIXINGS[spec.name](images, targets, ratio, rng.permutation(len(images)), rng)


def mixup(
    images: torch.Tensor,
    targets: Sequence[torch.Tensor],
    ratio: float,
    partners: NDArray[np.int64],
    rng: np.random.Generator,
) -> Mixed:
    """Blend whole pictures: (1-r) * own + r * partner (Zhang et al., 2018)."""
    order = torch.from_numpy(partners).to(images.device)
    own = images.to(torch.float32)
    return Mixed((1 - ratio) * own + ratio * own[order], _blend(targets, partners, ratio), ratio)


def cutmix(
    images: torch.Tensor,
    targets: Sequence[torch.Tensor],
    ratio: float,
    partners: NDArray[np.int64],
    rng: np.random.Generator,
) -> Mixed:
    """Paste a rectangle of the partner at the same place (Yun et al., 2019).

    It has the picture's aspect and the share `ratio` of its area, lies around a random pixel and ends at the border.
    The ratio that comes back, and that the targets are mixed with, is the share of pixels that were pasted.
    """
    height, width = images.shape[1:3]
    half_height, half_width = int(height * ratio**0.5) // 2, int(width * ratio**0.5) // 2
    row, column = int(rng.integers(height)), int(rng.integers(width))
    rows = slice(max(0, row - half_height), min(height, row + half_height))
    columns = slice(max(0, column - half_width), min(width, column + half_width))
    return _paste(images, targets, partners, rows, columns)


def band(
    images: torch.Tensor,
    targets: Sequence[torch.Tensor],
    ratio: float,
    partners: NDArray[np.int64],
    rng: np.random.Generator,
) -> Mixed:
    """Paste a full-height band of the partner, `ratio` of the width, at the left or at the right side.

    The ratio that comes back, and that the targets are mixed with, is the share of whole columns.
    """
    height, width = images.shape[1:3]
    pasted = round(ratio * width)
    columns = slice(0, pasted) if rng.random() < 0.5 else slice(width - pasted, width)
    return _paste(images, targets, partners, slice(0, height), columns)


def _paste(
    images: torch.Tensor, targets: Sequence[torch.Tensor], partners: NDArray[np.int64], rows: slice, columns: slice
) -> Mixed:
    mixed = images.clone()
    mixed[:, rows, columns] = images[torch.from_numpy(partners).to(images.device), rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    ratio = area / (images.shape[1] * images.shape[2])
    return Mixed(mixed, _blend(targets, partners, ratio), ratio)


def _blend(targets: Sequence[torch.Tensor], partners: NDArray[np.int64], ratio: float) -> list[torch.Tensor]:
    return [(1 - ratio) * own + ratio * own[torch.from_numpy(partners).to(own.device)] for own in targets]


MIXINGS: dict[str, Callable[..., Mixed]] = {"band": band, "cutmix": cutmix, "mixup": mixup}
"""Name -> function of pictures, targets, ratio, every face's partner (N,) and the source of further draws."""
