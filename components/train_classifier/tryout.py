"""A configuration tried out without data: what only libraries know about its arguments is found before a run starts.

The network is built on torch's device `meta`, which has shapes and no memory, so that the largest takes half a second.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

from components.shared.dataset.label_spaces import label_space
from components.shared.models.network import Network, build_network
from components.shared.models.pretrained import check_pretrained
from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.config.objective import OptimizerSpec
from components.train_classifier.config.training import IMAGENET, TrainConfig
from components.train_classifier.learner import Optimizer
from components.train_classifier.objective import Objective
from components.train_classifier.optimization.optimizers import make_optimizer
from components.train_classifier.optimization.schedules import make_schedule
from serving.runtime.card import Head
from serving.runtime.errors import ImageError, InputError

_BATCH = 2
_STEPS_PER_EPOCH = 10
"""For schedules, which have at least one step per epoch."""


def faults(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yield the entries of the configuration that cannot be used, and why: network, objective, optimizer, ...

    Weights are not read and no file is opened.
    """
    heads = label_space(config.label_space).heads
    tiny = nn.Linear(2, 1)
    network: nn.Module = tiny
    optimizer: Optimizer = torch.optim.SGD(tiny.parameters(), lr=config.learning_rate, momentum=0.9)

    def build() -> None:
        nonlocal network
        network = _network(config, heads).to_empty(device="cpu")

    def optimize() -> None:
        nonlocal optimizer
        spec = config.optimizer if network is not tiny else config.optimizer.model_copy(update={"groups": {}})
        optimizer = _optimizer(network, spec, config)
        _step(tiny, _optimizer(tiny, spec.model_copy(update={"groups": {}}), config))

    attempts: dict[str, Callable[[], object]] = {
        "network": build,
        "objective": lambda: _objective(config, heads),
        "optimizer": optimize,
        "scheduler": lambda: _schedule(config, optimizer),
        "augmentation": lambda: _augmentation(config),
    }
    for entry, attempt in attempts.items():
        try:
            with warnings.catch_warnings(action="ignore"):
                attempt()
        except InputError as error:
            yield entry, str(error)
        except Exception as error:  # whatever a library or the user's own code raises for its arguments
            yield entry, f"{type(error).__name__}: {error}"


def _network(config: TrainConfig, heads: Sequence[Head]) -> Network:
    """Build the network and pass two pictures through it; on the CPU when that does not work without memory."""
    try:
        return _built(config, heads, "meta")
    except Exception:  # an error of the network, or an operation that needs values
        return _built(config, heads, "cpu")


def _built(config: TrainConfig, heads: Sequence[Head], device: str) -> Network:
    size = config.input
    with torch.device(device), torch.random.fork_rng(devices=[]), torch.no_grad():
        network = build_network(config.spec, heads, IMAGENET, load_pretrained=False)
        check_pretrained(network.backbone, config.spec)
        try:
            network(torch.zeros((_BATCH, size.height, size.width, 3), dtype=torch.uint8))
        except Exception as error:
            raise InputError(f"the network does not take pictures of {size.height}x{size.width}: {error}") from error
    return network


def _objective(config: TrainConfig, heads: Sequence[Head]) -> None:
    sizes = [len(head.labels) for head in heads]
    objective = Objective(config.objective, heads, [np.ones(size) for size in sizes])
    logits = torch.zeros((_BATCH, sum(sizes)), requires_grad=True)
    loss = objective(logits, [torch.full((_BATCH, size), 1 / size) for size in sizes])
    torch.autograd.backward(loss)
    if not torch.isfinite(loss):
        raise InputError(f"the loss of equal logits is {loss.item()}")


def _optimizer(network: nn.Module, spec: OptimizerSpec, config: TrainConfig) -> Optimizer:
    return make_optimizer(network, spec, learning_rate=config.learning_rate, weight_decay=config.weight_decay)


def _step(tiny: nn.Module, optimizer: Optimizer) -> None:
    tiny(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def _schedule(config: TrainConfig, optimizer: Optimizer) -> None:
    """Go through the epochs, with one step in each that changes nothing: there are no gradients."""
    schedule = make_schedule(config.scheduler, optimizer, epochs=config.epochs, steps_per_epoch=_STEPS_PER_EPOCH)
    for epoch in range(config.epochs):
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if not np.all(np.isfinite(rates)) or min(rates) < 0:
            raise InputError(f"scheduler '{config.scheduler.name}': the learning rate of epoch {epoch + 1} is {rates}")
        optimizer.step()
        schedule.after_step()
        schedule.after_epoch({"f1": 0.0, "accuracy": 0.0, "loss": 1.0})


def _augmentation(config: TrainConfig) -> None:
    made = make_augmentation(config.augmentation, config.input, config.normalization or IMAGENET)
    picture = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(picture, "JPEG")
    try:
        made.train_pixels(picture.getvalue(), None, config.crop, np.random.default_rng(0))
    except ImageError as error:
        raise AssertionError from error
