"""One epoch of training, one pass of validation."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from components.shared.dataset.label_spaces import LabelSpace
from components.shared.metrics.classification import classification_metrics
from components.shared.models.network import Network, head_probabilities
from components.shared.progress import progress
from components.train_classifier.config import TrainConfig
from components.train_classifier.ema import MovingAverage
from components.train_classifier.loader import Batch, FaceDataset
from components.train_classifier.losses import correct, heads_loss
from components.train_classifier.schedule import learning_rate
from serving.runtime.errors import InputError

LogScalars = Callable[[Mapping[str, float], int], None]

_DROPOUT_STREAM = 3
_NAMES_SHOWN = 8


@dataclass(frozen=True)
class Learner:
    """What training changes. `sizes` are the label counts of the heads, in the order of the logits."""

    network: Network
    average: MovingAverage | None
    optimizer: torch.optim.Optimizer
    sizes: tuple[int, ...]
    device: torch.device

    @property
    def evaluated(self) -> torch.nn.Module:
        """The network that is validated and exported: the moving average where there is one."""
        return self.average.model if self.average is not None else self.network

    def weights(self) -> dict[str, Any]:
        """Return the fields of a checkpoint that hold weights."""
        average = self.average.model.state_dict() if self.average is not None else None
        return {"model_state": self.network.state_dict(), "ema_state": average}


def make_optimizer(network: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019); biases and batch-norm parameters do not decay."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    free = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def train_epoch(
    learner: Learner,
    batches: Iterator[Batch],
    batches_per_epoch: int,
    epoch: int,
    dataset: FaceDataset,
    config: TrainConfig,
    log_scalars: LogScalars,
) -> tuple[float, float]:
    """Train on the next `batches_per_epoch` batches and return the epoch's mean loss and accuracy.

    `epoch` counts from 0. Logs Train/loss, Train/accuracy (means since the last report) and the learning rate every
    `log_interval` steps. Raises InputError naming the pictures when the loss is not finite.
    """
    network, optimizer = learner.network.train(), learner.optimizer
    torch.manual_seed(int(np.random.SeedSequence((_DROPOUT_STREAM, config.seed, epoch)).generate_state(1)[0]))
    total = config.epochs * batches_per_epoch
    seen = epoch_loss = epoch_hits = 0.0
    reported = (0.0, 0.0, 0.0)
    shown = progress(islice(batches, batches_per_epoch), f"epoch {epoch + 1}/{config.epochs}", batches_per_epoch)
    for number, batch in enumerate(shown, start=1):
        step = epoch * batches_per_epoch + number
        rate = learning_rate(config.scheduler, step - 1, total, peak=config.learning_rate, warmup=config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        targets = batch.targets.to(learner.device, non_blocking=True)
        logits = network(batch.images.to(learner.device, non_blocking=True))
        loss = heads_loss(logits, targets, learner.sizes, config.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(_diverged(value, epoch, batch, dataset))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if learner.average is not None:
            learner.average.update(network)
        seen += len(targets)
        epoch_loss += value * len(targets)
        epoch_hits += int(correct(logits, targets, learner.sizes).sum())
        if step % config.log_interval == 0 or number == batches_per_epoch:
            new = seen - reported[0]
            means = {"loss": (epoch_loss - reported[1]) / new, "accuracy": (epoch_hits - reported[2]) / new}
            log_scalars({f"Train/{name}": mean for name, mean in means.items()} | {"Train/learning_rate": rate}, step)
            reported = (seen, epoch_loss, epoch_hits)
    return epoch_loss / seen, epoch_hits / seen


def _diverged(loss: float, epoch: int, batch: Batch, dataset: FaceDataset) -> str:
    names = [dataset.samples[index].file_name for index in batch.indices]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return (
        f"the loss is {loss} in epoch {epoch + 1}: lower learning_rate, or look at the pictures of this batch: "
        f"{', '.join(names[:_NAMES_SHOWN])}{more}"
    )


@torch.no_grad()
def validate(learner: Learner, loader: DataLoader[Batch], space: LabelSpace) -> dict[str, float]:
    """Return loss, accuracy and macro F1 over the whole set, counted on the classes of `space`.

    The loss is the log loss without label smoothing; for several heads that is the sum of theirs.
    """
    network = learner.evaluated.eval()
    truth: list[int] = []
    parts: list[list[np.ndarray]] = [[] for _ in learner.sizes]
    for batch in loader:
        truth += [space.class_index(row) for row in batch.targets.tolist()]
        logits = network(batch.images.to(learner.device, non_blocking=True))
        for part, probabilities in zip(parts, head_probabilities(logits, learner.sizes), strict=True):
            part.append(probabilities.cpu().numpy())
    heads = {head.name: np.concatenate(part) for head, part in zip(space.heads, parts, strict=True)}
    scores = classification_metrics(np.array(truth), space.class_probabilities(heads))
    return {"loss": scores.log_loss, "accuracy": scores.accuracy, "f1": scores.macro_f1}
