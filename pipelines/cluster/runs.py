"""Runs on the cluster: what they are at, waiting for their end, ending them."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from pipelines.cluster.connect import Cluster
from pipelines.cluster.explain import FAULTS, explained, explanation, passing
from pipelines.environment.errors import ClusterError

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
POLL_SECONDS = 5.0
PATIENCE_SECONDS = 300.0
"""How long a wait goes on while the cluster does not answer, or a canceled run does not end."""

_INNER = re.compile(r"root|executor(\(\d+\))?|.*-driver|(condition|for-loop|iteration).*")
"""Names of the nodes with which the cluster runs a task, beside the task itself."""


def run_id_of(text: str) -> str:
    """The id in what a user names a run by: the id itself, or the address of the run's page."""
    return text.rstrip("/").rpartition("/")[2]


def get_run(cluster: Cluster, run_id: str) -> Any:
    """The run as the API describes it.

    Raises:
        ClusterError: also when there is no such run.
    """
    with explained(cluster.settings, _unknown(run_id)):
        return cluster.runs.run_service_get_run(run_id)


def newest(cluster: Cluster, count: int = 10) -> Iterator[str]:
    """A line for each of the newest runs."""
    with explained(cluster.settings):
        found = cluster.runs.run_service_list_runs(page_size=count, sort_by="created_at desc", **cluster.scope)
    for run in found.runs or []:
        yield f"{run.run_id}  {run.state or 'PENDING':<10} {_time(run.created_at)}  {run.display_name}"
    if not found.runs:
        yield "no run yet"


def status(cluster: Cluster, run_id: str) -> Iterator[str]:
    """What a run is at: its state, then a line for each task that has begun."""
    run = get_run(cluster, run_id)
    yield f"run     {run.display_name}"
    yield f"page    {cluster.page(f'runs/details/{run.run_id}')}"
    yield f"state   {run.state or 'PENDING'}{_reason(run.error)}"
    yield f"time    {_time(run.created_at)}{_duration(run.created_at, run.finished_at)}"
    for task in tasks(run):
        took = _duration(task.start_time, task.end_time)
        yield f"  {task.display_name:<20} {task.state or '':<10}{took}{_reason(task.error)}"


def tasks(run: Any) -> list[Any]:
    """The tasks of a run that have begun, in that order."""
    details = (run.run_details.task_details or []) if run.run_details else []
    known = [task for task in details if task.display_name and not _INNER.fullmatch(task.display_name)]
    return sorted(known, key=lambda task: str(task.start_time or task.create_time or ""))


def cancel(cluster: Cluster, run_id: str, *, show: Callable[[str], None] = print) -> None:
    """Ends a run; what is registered by then stays registered, and no version becomes the champion any more."""
    run = get_run(cluster, run_id)
    if run.state in ENDED:
        show(f"the run has already ended as {run.state}")
        return
    with explained(cluster.settings):
        cluster.runs.run_service_terminate_run(run_id)
    show("canceled; its pods are being stopped")


def wait_for_run(cluster: Cluster, run_id: str, *, show: Callable[[str], None] = print) -> None:
    """Waits until a run has ended in whatever way; shows every change of its state.

    A server that restarts, is busy or does not answer in time is asked again for `PATIENCE_SECONDS`.

    Raises:
        ClusterError: unless the run has succeeded; names the tasks that failed.
    """
    state, heard = "", time.monotonic()
    while state not in ENDED:
        try:
            run = cluster.runs.run_service_get_run(run_id)
        except FAULTS as error:
            if not passing(cluster.settings, error) or time.monotonic() - heard > PATIENCE_SECONDS:
                raise explanation(cluster.settings, error, _unknown(run_id)) from error
        else:
            if state != "CANCELING":
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE_SECONDS:
                raise ClusterError("the run was canceled and has not ended yet: its pods may hang")
            if run.state and run.state != state:
                state = run.state
                show(f"        {datetime.now():%H:%M:%S} {state}")
        if state not in ENDED:
            time.sleep(POLL_SECONDS)
    if state != "SUCCEEDED":
        raise ClusterError(f"the run ended as {state}{_failures(run)}")


def _unknown(run_id: str) -> str:
    return f"there is no run '{run_id}' on this cluster: `facet status` lists the newest"


def _failures(run: Any) -> str:
    """The failed tasks of a run with their messages, for the end of a sentence."""
    failed = []
    for task in tasks(run):
        if task.state == "FAILED":
            said = (task.error and task.error.message) or f"see `facet logs {run.run_id} {task.display_name}`"
            failed.append(f"{task.display_name} ({said})")
    return _reason(run.error) + (f"; failed: {', '.join(failed)}" if failed else "")


def _reason(error: Any) -> str:
    return f": {error.message}" if error and error.message else ""


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if _known(moment) and moment else "-"


def _duration(begin: datetime | None, end: datetime | None) -> str:
    if not _known(begin) or begin is None:
        return ""
    until = end if _known(end) and end else datetime.now(begin.tzinfo)
    minutes, seconds = divmod(max(int((until - begin).total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f" {hours}:{minutes:02}:{seconds:02}"


def _known(moment: datetime | None) -> bool:
    """The API gives the year 1970 for a moment that has not come."""
    return moment is not None and moment.year > 1970
