"""The training loop: one step, one epoch, one pass of validation."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.data import DataLoader

from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.text import some
from components.shared.metrics.classification import ClassificationScores, classification_metrics
from components.shared.models.network import head_probabilities
from components.shared.progress import progress
from components.shared.training.processes import Processes
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.faces import Data
from components.train_classifier.data.loader import Batch
from components.train_classifier.learner import Learner
from components.train_classifier.objective import correct, mix, mixing_rng, pseudo_targets, pseudo_weight
from components.train_classifier.optimization.optimizers import SharpnessAware
from serving.runtime.card import Normalization
from serving.runtime.errors import InputError

Row = dict[str, float]
"""An epoch: its number from 1, and its scores."""

LogScalars = Callable[[Mapping[str, float], int], None]

_DROPOUT_STREAM = 3


@dataclass(frozen=True)
class Training:
    """A training in progress: `history` has its finished epochs, `batches` are those of all others, in sequence."""

    config: TrainConfig
    data: Data
    learner: Learner
    processes: Processes
    normalization: Normalization
    batches: Iterator[Batch]
    steps_per_epoch: int
    validation: DataLoader[Batch]
    history: list[Row]


class Part(NamedTuple):
    """Faces that go through the network together: uint8 or float (N,h,w,3), targets float (N,K) per head.

    `weight` is that of their mean loss in the loss of the whole step.
    """

    images: torch.Tensor
    targets: list[torch.Tensor]
    weight: float
    labeled: bool = True


def train_epoch(training: Training, epoch: int, log_scalars: LogScalars) -> tuple[float, float]:
    """Train for one epoch and return its mean loss and accuracy over the labeled faces.

    `epoch` counts from 0. Logs Train/loss, Train/accuracy (means since the last report) and Train/learning_rate every
    `log_interval` steps. Raises InputError naming the pictures when a loss or gradient is not finite.
    """
    config, learner, processes, steps = training.config, training.learner, training.processes, training.steps_per_epoch
    learner.network.train()
    stream = (_DROPOUT_STREAM, config.seed, epoch, *((processes.rank,) if processes.rank else ()))
    torch.manual_seed(int(np.random.SeedSequence(stream).generate_state(1)[0]))
    total, recent = np.zeros(3), np.zeros(3)  # faces, sum of their losses, correct ones
    batches = progress(islice(training.batches, steps), f"epoch {epoch + 1}/{config.epochs}", steps)
    for number, batch in enumerate(batches, start=1):
        step = epoch * steps + number
        rate = learner.base.param_groups[0]["lr"]
        try:
            recent += take_step(learner, split_batch(training, batch, epoch, step), config)
        except FloatingPointError as error:
            faces = [*training.data.train.labeled, *training.data.train.unlabeled]
            names = some([faces[index].file_name for index in batch.indices], 8)
            raise InputError(
                f"{error} in epoch {epoch + 1}: lower learning_rate, or look at the pictures of this batch: {names}"
            ) from error
        learner.schedule.after_step()
        if learner.average is not None:
            learner.average.update(learner.network)
        if step % config.log_interval == 0 or number == steps:
            recent = np.array(processes.total(*recent))
            means = {"loss": recent[1] / recent[0], "accuracy": recent[2] / recent[0], "learning_rate": rate}
            log_scalars({f"Train/{name}": float(mean) for name, mean in means.items()}, step)
            total, recent = total + recent, np.zeros(3)
    return float(total[1] / total[0]), float(total[2] / total[0])


def split_batch(training: Training, batch: Batch, epoch: int, step: int) -> list[Part]:
    """Return the parts of a step (counted from 1): the labeled faces, mixed, and those with pseudo-labels.

    Their weights make the loss the mean over the labeled faces of all processes, plus the weighted mean over the
    others; they count the processes, whose gradients are averaged.
    """
    config, learner, faces = training.config, training.learner, training.data.train
    images = batch.images.to(learner.device, non_blocking=True)
    labeled = sum(index < len(faces.labeled) for index in batch.indices)
    rows = batch.indices[:labeled]
    targets = [torch.from_numpy(target[rows]).to(learner.device) for target in faces.targets]
    mixed = mix(images[:labeled], targets, config.mixing, mixing_rng(config.seed, epoch, step))
    groups = [(mixed.images, mixed.targets, 1.0, True)]
    weight = pseudo_weight(config.pseudo_labels, step - 1)
    if weight > 0:
        rest = images[labeled:]  # empty where there are more processes than such faces in a batch
        guesses = pseudo_targets(learner.network, rest, learner.objective.sizes) if len(rest) else targets
        groups.append((rest, [guess[: len(rest)] for guess in guesses], weight, False))
    counts = training.processes.total(*(len(group[0]) for group in groups))
    world = training.processes.world
    parts = []
    for (pixels, soft, weight, has_labels), count in zip(groups, counts, strict=True):
        pieces = zip(
            pixels.tensor_split(config.accumulate), *(t.tensor_split(config.accumulate) for t in soft), strict=True
        )
        parts += [
            Part(piece, own, weight * len(piece) * world / count, has_labels) for piece, *own in pieces if len(piece)
        ]
    return parts


def take_step(learner: Learner, parts: Sequence[Part], config: TrainConfig) -> tuple[int, float, int]:
    """Change the weights once. Returns the number of labeled faces, the sum of their losses, and how many are right.

    SAM takes two gradients. Raises FloatingPointError when a loss or gradient is not finite; under float16 a gradient
    that overflows is not an error: the scaler skips the step and lowers its scale.
    """
    optimizer, base, scaler = learner.optimizer, learner.base, learner.scaler
    optimizer.zero_grad()
    outcome = add_gradients(learner, parts)
    parameters = [parameter for group in base.param_groups for parameter in group["params"]]
    if isinstance(optimizer, SharpnessAware):
        optimizer.perturb()
        optimizer.zero_grad()
        add_gradients(learner, parts)
        optimizer.restore()
    scaler.unscale_(base)
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if config.clip_norm is not None:
        clip_grads_with_norm_(parameters, config.clip_norm, norm)
    if not scaler.is_enabled() and not math.isfinite(float(norm)):
        raise FloatingPointError(f"the gradient is {float(norm)}")
    scaler.step(base)
    scaler.update()
    return outcome


def add_gradients(learner: Learner, parts: Sequence[Part]) -> tuple[int, float, int]:
    """Accumulate the gradients of all parts; returns the same as `take_step`."""
    seen, losses, hits = 0, 0.0, 0
    for number, part in enumerate(parts, start=1):
        with learner.gradients_of_part(last=number == len(parts)):
            with learner.autocast():
                logits = learner.forward(part.images)
            loss = learner.objective(learner.network.margin_logits(logits, part.targets), part.targets)
            value = loss.item()
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value}")
            learner.scaler.scale(loss * part.weight).backward()  # type: ignore[no-untyped-call]
        if part.labeled:
            seen += len(part.images)
            losses += value * len(part.images)
            hits += int(correct(logits, part.targets).sum())
    return seen, losses, hits


class Validation(NamedTuple):
    """`scores` are loss, accuracy and f1; `pictures` are (uint8 (h,w,3), true class, predicted class)."""

    scores: dict[str, float]
    classes: ClassificationScores
    pictures: list[tuple[NDArray[np.uint8], int, int]]


@torch.no_grad()
def validate(
    learner: Learner,
    loader: DataLoader[Batch],
    truth: NDArray[np.int64],
    space: LabelSpace,
    processes: Processes,
    examples: Collection[int] = (),
) -> Validation:
    """Evaluate the network over the whole set in the classes of `space`; `truth` (N,) are the true ones.

    The loss is the log loss without label smoothing; for several heads that is the sum of theirs. The pictures with
    the indices `examples` are returned.
    """
    network = learner.evaluated.eval()
    processes.share_buffers(network)
    outputs: list[tuple[list[int], list[NDArray[np.float32]]]] = []
    pixels: dict[int, NDArray[np.uint8]] = {}
    for batch in loader:
        logits = network(batch.images.to(learner.device, non_blocking=True))
        outputs.append((batch.indices, [part.cpu().numpy() for part in head_probabilities(logits, network.sizes)]))
        pixels |= {index: batch.images[row].numpy() for row, index in enumerate(batch.indices) if index in examples}
    outputs = [output for part in processes.gather(outputs) for output in part]
    pixels = {index: picture for part in processes.gather(pixels) for index, picture in part.items()}
    order = np.argsort(np.concatenate([indices for indices, _ in outputs]))
    heads = {
        head.name: np.concatenate([parts[number] for _, parts in outputs])[order]
        for number, head in enumerate(space.heads)
    }
    probabilities = space.class_probabilities(heads)
    classes = classification_metrics(truth, probabilities)
    return Validation(
        {"loss": classes.log_loss, "accuracy": classes.accuracy, "f1": classes.macro_f1},
        classes,
        [(pixels[index], int(truth[index]), int(probabilities[index].argmax())) for index in sorted(pixels)],
    )
