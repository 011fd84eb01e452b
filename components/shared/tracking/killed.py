"""MLflow runs whose process was killed: nobody closed them, so they are marked when the next run is opened."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from serving.runtime.errors import StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROCESS = "facet.process"
"""Tag with the process that writes a run: boot of the machine, PID namespace, process id, start in clock ticks."""

_MOST = 1000


def this_process() -> dict[str, str]:
    """Return the tag of this process; none where the system does not tell, and then nobody marks the run."""
    try:
        return {PROCESS: f"{_namespace()}:{os.getpid()}:{_start(os.getpid())}"}
    except OSError:
        return {}


def mark_killed(client: "MlflowClient", run_id: str) -> list[str]:
    """Mark as KILLED the running MLflow runs of dead processes, other than `run_id`; return their ids.

    Judged are only processes that this one could see if they were alive: of the same boot of the same machine and the
    same PID namespace. A run of another machine, of another container or of somebody else's program stays as it is.
    """
    from mlflow.exceptions import MlflowException

    marked = []
    try:
        namespace = _namespace()
        experiments = [one.experiment_id for one in client.search_experiments(max_results=_MOST)]
        filter_string = f"attributes.status = 'RUNNING' AND tags.`{PROCESS}` LIKE '{namespace}:%'"
        for run in client.search_runs(experiments, filter_string, max_results=_MOST):
            process, start = run.data.tags[PROCESS].removeprefix(f"{namespace}:").split(":")
            if run.info.run_id != run_id and not _alive(int(process), start):
                client.set_terminated(run.info.run_id, "KILLED")
                marked.append(run.info.run_id)
    except (OSError, ValueError, MlflowException) as error:
        if isinstance(error, StorageError):
            raise
    return marked


def _namespace() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"


def _start(process: int) -> str:
    """Return when a process began, the 22nd field of /proc/<pid>/stat; its name, the second, may hold anything."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]


def _alive(process: int, start: str) -> bool:
    try:
        return _start(process) == start
    except OSError:
        return False
