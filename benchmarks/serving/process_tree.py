"""A server's processes: their processor time, their memory, and their end."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence

import psutil

_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 10.0


def die_with_parent() -> None:
    """Ask the kernel to stop this new process when the one that started it is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all below it; none when it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the processor time of processes, with that of their ended children."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def pss(processes: Sequence[psutil.Process]) -> float:
    """Return the memory of processes in MiB; a page that several map is counted once."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 2**20


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it, by force those that are still there after ten seconds."""
    family = tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
    family += [child for child in tree(process.pid) if child not in family]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(family, _PATIENCE_S)
