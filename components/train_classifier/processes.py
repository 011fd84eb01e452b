"""The processes that train one network together, each on its part of every batch. One process alone needs nothing."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

_PATIENCE = timedelta(hours=2)  # the first process writes checkpoints and asks MLflow while the others wait


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's `rank` among `world`; the first one writes."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """True for the process that writes checkpoints and logs."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """Return the sum of each number over all processes."""
        if self.world == 1:
            return list(values)
        sums: list[float] = [0.0] * len(values)
        for row in self.gather(values):
            sums = [left + right for left, right in zip(sums, row, strict=True)]
        return sums

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, value)
        return found

    def share(self, value: Any) -> Any:
        """Return the value that the first process has."""
        if self.world == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by the sum over all processes."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process the buffers (batch-norm statistics) of the first one."""
        if self.world == 1:
            return
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)


@contextmanager
def join(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that `torch.distributed.run` started, if it did; gives them and the device of this one.

    On GPUs every process has the one of its local rank.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "MASTER_ADDR" not in os.environ:
        yield Processes(), device
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()
