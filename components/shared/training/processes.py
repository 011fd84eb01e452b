"""Where a training runs: its processes and their device, the inputs that those of a node share, and the environment.

Data-parallel training: each process trains the one network on its part of every batch.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder
from serving.runtime.storage import Location, download, is_s3

LIBRARIES = ("numpy", "pillow", "simplejpeg", "torch", "torchvision")

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


@contextmanager
def node_folder() -> Iterator[Path]:
    """Give a folder that all processes of `torch.distributed.run` on this node share, until the block ends.

    The first of them removes it.
    """
    distributed = "LOCAL_RANK" in os.environ
    folder = Path(tempfile.gettempdir(), f"facet-node-{os.getppid() if distributed else os.getpid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        yield folder
    finally:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            shutil.rmtree(folder, ignore_errors=True)


def local_copy(address: str, folder: Path) -> Path:
    """Return the path of a file or folder; an `s3://` address is first downloaded into `folder`, a node's.

    Raises StorageError when it cannot be read.
    """
    if not is_s3(address):
        return Path(address)
    target = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
    source = Location(address)
    with (folder / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with whole_folder(target) as partial:
                single = source.list()[0].path == ""
                download(address, partial if single else partial / source.name)
    return target / source.name


def versions() -> dict[str, str]:
    """Return the versions of the libraries that weights depend on."""
    return {name: version(name) for name in LIBRARIES}


def environment(device: torch.device) -> dict[str, str]:
    """Return the machine, the device and, where it is known, the git revision of the code."""
    revision = git_revision()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": str(torch.get_num_threads()),
        **({"git_revision": revision} if revision else {}),
    }


def git_revision() -> str:
    """Return the commit of this code, with the suffix "+changes" where files differ; an image knows that of its build.

    "" where there is neither.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    built = os.environ.get("FACET_REVISION", "").removeprefix("unknown")
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, env=quiet)
        if commit.returncode:
            return built
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=30, env=quiet)
    except (OSError, subprocess.TimeoutExpired):
        return built
    return commit.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
