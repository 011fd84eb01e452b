"""Processes of this machine: found again by number and start time, stopped with their group."""

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil


def find_process(pid: int, created: float) -> psutil.Process | None:
    """The running process of that number and start time; None when it has ended, even if its number is in use again."""
    try:
        process = psutil.Process(pid)
        # An adjustment of the system's clock moves the start times of all processes a little.
        same = abs(process.create_time() - created) < 2.0
    except psutil.NoSuchProcess:
        return None
    return process if same and alive(process) else None


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def stop_group(leader: psutil.Process, *, first: signal.Signals = signal.SIGTERM, patience: float = 8.0) -> None:
    """Sends `first` to the process group of `leader`, and kills what is left of it after `patience` seconds."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, first)
        until(lambda: not alive(leader), seconds=patience)
        os.killpg(leader.pid, signal.SIGKILL)


def until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Waits until a condition holds; returns whether it did within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
