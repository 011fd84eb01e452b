"""What a training step minimizes: losses by name, summed over the heads, and the targets: mixed ones, pseudo-labels.

A loss takes logits float (N,K) of one head, soft targets float (N,K) whose rows sum to 1, and a weight per class (K,)
or None. It returns one number per sample (N,), or a single one where samples cannot be told apart. The loss of mixed
targets is the mixture of the losses, except for f1.

Mixing takes pictures (N,h,w,C) with any numbers. A face is mixed with a partner of the same batch, whose share is the
ratio r; a mixed target is (1-r) * own + r * partner: for a loss that is linear in the target, that mixes both losses
alike.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn
from torch.nn import functional

from components.shared.options import by_name, check_arguments
from components.train_classifier.config.objective import (
    LOSSES,
    LossSpec,
    MixingSpec,
    ObjectiveSpec,
    PseudoLabelSpec,
    Share,
    check_objective,
)
from serving.runtime.card import Head
from serving.runtime.errors import InputError

_F1_EPSILON = 1e-7
_MIXING_STREAM = 4


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None, label_smoothing: Share = 0.0
) -> torch.Tensor:
    """Cross entropy. `label_smoothing` s moves the targets to (1-s) * target + s/K (Szegedy et al., 2016)."""
    return functional.cross_entropy(logits, targets, weight, label_smoothing=label_smoothing, reduction="none")


def label_smoothing(
    logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None, smoothing: Share = 0.1
) -> torch.Tensor:
    """Cross entropy with 1-s on the true class and s/(K-1) on every other one, s being `smoothing`."""
    smoothed = (1 - smoothing) * targets + smoothing / (targets.shape[1] - 1) * (1 - targets)
    return cross_entropy(logits, smoothed, weight=weight)


def focal(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    weight: torch.Tensor | None = None,
    gamma: Annotated[float, Field(ge=0.0)] = 2.0,
) -> torch.Tensor:
    """Focal loss, -(1-p)^gamma log p of the true class (Lin et al., 2017)."""
    log_probabilities = functional.log_softmax(logits, dim=1)
    # 1-p without cancellation; its floor keeps the gradient of the power finite where p rounds to 1.
    rest = -torch.expm1(log_probabilities)
    factor = rest.clamp_min(torch.finfo(logits.dtype).tiny) ** gamma if gamma else torch.ones_like(rest)
    return -(_weighted(targets, weight) * factor * log_probabilities).sum(dim=1)


def bce(logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Binary cross entropy of a head with two labels: the logit of the second over the first is the one logit."""
    if logits.shape[1] != 2:
        raise InputError(f"loss 'bce' is for heads with 2 labels, this one has {logits.shape[1]}; take cross_entropy")
    logit = logits[:, 1] - logits[:, 0]
    weighted = _weighted(targets, weight)
    return -(weighted[:, 1] * functional.logsigmoid(logit) + weighted[:, 0] * functional.logsigmoid(-logit))


def f1(logits: torch.Tensor, targets: torch.Tensor, *, weight: torch.Tensor | None = None) -> torch.Tensor:
    """1 - macro F1 of the batch, softmax probabilities taken as soft counts: a scalar.

    A class without faces in the batch has F1 0, so batches should be large. `weight` weights the mean over classes.
    """
    probabilities = torch.softmax(logits, dim=1)
    hits = (probabilities * targets).sum(dim=0)
    precision = hits / (probabilities.sum(dim=0) + _F1_EPSILON)
    recall = hits / (targets.sum(dim=0) + _F1_EPSILON)
    scores = 2 * precision * recall / (precision + recall + _F1_EPSILON)
    scores = scores.clamp(_F1_EPSILON, 1 - _F1_EPSILON)
    return 1 - (scores.mean() if weight is None else (weight * scores).sum() / weight.sum())


def _weighted(targets: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    return targets if weight is None else targets * weight


class Objective:
    """What a training minimizes: the weighted sum over heads of each head's mean loss.

    The mean runs over the samples of the batch, so it does not depend on the batch size. With class weights it is
    divided by the sum of the samples' weights, as torch.nn.CrossEntropyLoss does.
    """

    def __init__(
        self,
        spec: ObjectiveSpec,
        heads: Sequence[Head],
        counts: Sequence[NDArray[np.floating]],
        device: torch.device | str = "cpu",
    ) -> None:
        """Set the losses up.

        Args:
            spec: which losses.
            heads: the heads, in the order of the logits.
            counts: per head the number of training faces of every class (K,); soft targets give fractions.
            device: where the logits will be.

        Raises:
            InputError: an unknown head, loss or argument, or class weights of a wrong number.
        """
        assert len(heads) == len(counts)
        check_objective(spec, heads)
        self.sizes = tuple(len(head.labels) for head in heads)
        self._parts = []
        for head, count in zip(heads, counts, strict=True):
            loss = spec.heads.get(head.name, spec.loss)
            function = by_name("loss", loss.name, LOSSES)
            check_arguments(f"loss '{loss.name}'", function, loss.arguments, reserved=("logits", "targets", "weight"))
            weight = class_weights(loss, head, count)
            tensor = None if weight is None else torch.tensor(weight, dtype=torch.float32, device=device)
            self._parts.append((loss, function, tensor))

    def __call__(self, logits: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (N, sum K) with the heads side by side and soft targets (N,K) per head -> a scalar."""
        total = logits.new_zeros((), dtype=torch.float32)
        for part, target, (loss, function, weight) in zip(
            torch.split(logits, list(self.sizes), dim=1), targets, self._parts, strict=True
        ):
            exact = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part
            soft, weights = target.to(exact.dtype), None if weight is None else weight.to(exact.dtype)
            value = function(exact, soft, weight=weights, **loss.arguments)
            if value.ndim:
                # The floor is for batches in which every face has weight 0.
                value = value.mean() if weights is None else value.sum() / (soft @ weights).sum().clamp_min(1e-12)
            total = total + loss.weight * value
        return total


def class_weights(loss: LossSpec, head: Head, counts: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Return a weight per class (K,) or None; `counts` is how often each class occurs in training.

    A class that does not occur has weight 0 unless weights are given in numbers.
    """
    kind = loss.class_weights
    if kind == "none":
        return None
    if not isinstance(kind, str):
        return np.array(kind)
    counts = np.asarray(counts, dtype=np.float64)
    present = counts > 0
    inverse: NDArray[np.float64] = np.divide(1.0, counts, out=np.zeros_like(counts), where=present)
    scale = 1 / inverse.sum() if kind == "inverse" else counts.sum() / present.sum()
    return inverse * float(scale)


def correct(logits: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return bool (N,): is every head's most likely label the one that its target (N,K) finds most likely."""
    parts = torch.split(logits, [target.shape[1] for target in targets], dim=1)
    hits = [part.argmax(dim=1) == target.argmax(dim=1) for part, target in zip(parts, targets, strict=True)]
    return torch.stack(hits).all(dim=0)


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
