"""Which process is which, after its number may have been given to another one."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process that leads its own group; `started` tells it from a later one with the same number."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this number now."""
        return cls(pid, _started(pid) or "")

    def alive(self) -> bool:
        """Whether this very process runs (a zombie does not)."""
        return self.started != "" and _started(self.pid) == self.started


def stop_group(leader: Process, *, first: signal.Signals = signal.SIGTERM, patience: float = 8.0) -> None:
    """Ends a process group: asks with `first`, kills what is left after `patience` seconds."""
    if leader.alive():
        _signal_group(leader.pid, first)
        deadline = time.monotonic() + patience
        while leader.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        kill_group(leader.pid)


def kill_group(group: int) -> None:
    """Kills what is left of a process group whose number cannot have been given away: its leader is our child."""
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _started(pid: int) -> str | None:
    """When the process started, in the system's own words; None when there is no such process."""
    proc = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may hold spaces; the state is field 3 and the start time field 22.
            fields = proc.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    listing = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = listing.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()
