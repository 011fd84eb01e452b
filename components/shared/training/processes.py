"""Data-parallel training: the processes that train one network, each on its part of every batch, and their device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from serving.runtime.errors import InputError

_TIMEOUT = timedelta(hours=2)  # the first process writes checkpoints and asks MLflow while the others wait


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's `rank` among `world`; rank 0 writes."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """True for the process that writes checkpoints and logs."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """Return the sum of each number over all processes."""
        return [sum(column) for column in zip(*self.gather(values), strict=True)]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def share(self, value: Any) -> Any:
        """Return the value of rank 0."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return `network`, with a backward pass that averages the gradients of all processes.

        Each process keeps its own batch-norm statistics until `share_buffers`. Parameters that no gradient reaches are
        allowed.
        """
        if self.world == 1:
            return network
        return DistributedDataParallel(network, forward_sync_buffers=False, find_unused_parameters=True)

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process the buffers (batch-norm statistics) of rank 0."""
        if self.world == 1:
            return
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)


@contextmanager
def join_processes(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that `torch.distributed.run` started, if it did; gives them and the device of this one.

    Among several processes each takes the GPU of its local rank. Raises InputError when there is no such device.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "MASTER_ADDR" not in os.environ:
        yield Processes(), find_device(device)
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_TIMEOUT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size()), find_device(device)
    finally:
        distributed.destroy_process_group()


def find_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the GPU where there is one. InputError when there is no such GPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"device: there is no '{name}', this machine has {count} GPUs that torch can use")
    return device
