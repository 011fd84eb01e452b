"""Training state: network, moving average of its weights, loss, optimizer, schedule and gradient scaler."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.shared.models.checkpoint import Checkpoint
from components.shared.models.network import Network, build_network
from components.shared.training.processes import Processes
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.objective import Objective
from components.train_classifier.optimization.optimizers import SharpnessAware, make_optimizer
from components.train_classifier.optimization.schedules import Schedule, make_schedule
from serving.runtime.card import Head, Normalization

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Optimizer = torch.optim.Optimizer | SharpnessAware

_PRECISIONS = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class MovingAverage(Generic[ModuleT]):
    """A copy of a network whose weights follow it as an exponential moving average.

    The decay of update t is min(decay, (1 + t) / (10 + t)), so that the random start is forgotten in short
    trainings. Floating-point buffers (batch-norm statistics) are averaged too, counters are copied. torch's
    AveragedModel replaces the copy by the network in its first update and keeps its count among the weights.
    """

    def __init__(self, network: ModuleT, decay: float) -> None:
        self.network: ModuleT = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: ModuleT) -> None:
        """Move the average toward the weights of `network`."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        average, source = self.network.state_dict(), network.state_dict()
        floating = [name for name, value in average.items() if value.is_floating_point()]
        torch._foreach_lerp_([average[name] for name in floating], [source[name] for name in floating], 1 - decay)
        for name in average.keys() - floating:
            average[name].copy_(source[name])


@dataclass(frozen=True)
class Learner:
    """`forward` is the network, data-parallel and compiled where that is configured.

    `scaler` has an effect under float16 only.
    """

    network: Network
    forward: Callable[[torch.Tensor], torch.Tensor]
    average: MovingAverage[Network] | None
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    precision: torch.dtype
    device: torch.device

    @property
    def evaluated(self) -> Network:
        """The network that is validated and exported: the moving average where there is one."""
        return self.average.network if self.average is not None else self.network

    @property
    def base(self) -> torch.optim.Optimizer:
        """The optimizer itself, without SAM around it."""
        return self.optimizer.base if isinstance(self.optimizer, SharpnessAware) else self.optimizer

    def autocast(self) -> torch.amp.autocast_mode.autocast:
        """The context of forward passes in the precision of the training."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not torch.float32)

    def gradients_of_part(self, *, last: bool) -> AbstractContextManager[None]:
        """The context of a forward and backward pass; the processes average gradients in the last one of a step."""
        unsynchronized = None if last else getattr(self.forward, "no_sync", None)
        return unsynchronized() if unsynchronized is not None else nullcontext()

    def weights(self) -> dict[str, Any]:
        """Return the fields of a checkpoint that hold weights."""
        average = self.average.network.state_dict() if self.average is not None else None
        return {"model_state": self.network.state_dict(), "ema_state": average}

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on, except the weights."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average_updates": self.average.updates if self.average is not None else 0,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load the weights and the training state of `checkpoint`."""
        state = checkpoint.training_state
        assert state is not None
        self.network.load_state_dict(checkpoint.model_state)
        if self.average is not None:
            assert checkpoint.ema_state is not None
            self.average.network.load_state_dict(checkpoint.ema_state)
            self.average.updates = state["average_updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])


def new_learner(
    config: TrainConfig,
    heads: tuple[Head, ...],
    normalization: Normalization,
    counts: Sequence[NDArray[np.floating]],
    steps_per_epoch: int,
    *,
    device: torch.device,
    processes: Processes,
    load_pretrained: bool = True,
) -> Learner:
    """Build the training state, with random weights drawn from the seed.

    `counts` is how often each label occurs in training, (K,) per head. Raises InputError where a part of the
    configuration does not match the network or the label space.
    """
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(config.seed)
    network = build_network(config.spec, heads, normalization, load_pretrained=load_pretrained).to(device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(
        network, config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    forward = processes.parallel(network)
    return Learner(
        network=network,
        forward=torch.compile(forward) if config.compile else forward,
        average=MovingAverage(network, config.ema_decay) if config.ema_decay > 0 else None,
        objective=Objective(config.objective, heads, counts, device),
        optimizer=optimizer,
        schedule=make_schedule(config.scheduler, optimizer, epochs=config.epochs, steps_per_epoch=steps_per_epoch),
        scaler=torch.amp.GradScaler(device.type, enabled=config.amp == "fp16"),
        precision=_PRECISIONS[config.amp],
        device=device,
    )
