"""Runs on the cluster: status, waiting for the end, cancellation."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from pipelines.cluster.connect import Cluster
from pipelines.cluster.explain import FAULTS, explained, explanation, transient
from pipelines.environment.errors import ClusterError

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
POLL_SECONDS = 5.0
PATIENCE_SECONDS = 300.0
"""How long to wait while the cluster does not respond, or a canceled run does not end."""

_INNER = re.compile(r"root|executor(\(\d+\))?|.*-driver|(condition|for-loop|iteration).*")
"""Names of the driver, executor and loop nodes, which are not tasks of the pipeline."""


def run_id_of(text: str) -> str:
    """The id of a run, from the id itself or the address of its page."""
    return text.rstrip("/").rpartition("/")[2]


def get_run(cluster: Cluster, run_id: str) -> Any:
    """The V2beta1Run of that id. Raises ClusterError, also when there is none."""
    with explained(cluster.settings, _not_found(run_id)):
        return cluster.runs.run_service_get_run(run_id)


def newest(cluster: Cluster, count: int = 10) -> Iterator[str]:
    """A line for each of the newest runs."""
    with explained(cluster.settings):
        page = cluster.runs.run_service_list_runs(page_size=count, sort_by="created_at desc", **cluster.scope)
    for run in page.runs or []:
        yield f"{run.run_id}  {run.state or 'PENDING':<10} {_time(run.created_at)}  {run.display_name}"
    if not page.runs:
        yield "no run yet"


def status(cluster: Cluster, run_id: str) -> Iterator[str]:
    """The state of a run, then a line for each task that was started."""
    run = get_run(cluster, run_id)
    yield f"run     {run.display_name}"
    yield f"page    {cluster.page(f'runs/details/{run.run_id}')}"
    yield f"state   {run.state or 'PENDING'}{_reason(run.error)}"
    yield f"time    {_time(run.created_at)}{_duration(run.created_at, run.finished_at)}"
    for task in tasks(run):
        duration = _duration(task.start_time, task.end_time)
        yield f"  {task.display_name:<20} {task.state or '':<10}{duration}{_reason(task.error)}"


def tasks(run: Any) -> list[Any]:
    """The tasks of a run by start time."""
    details = (run.run_details.task_details or []) if run.run_details else []
    named = [task for task in details if task.display_name and not _INNER.fullmatch(task.display_name)]
    return sorted(named, key=lambda task: str(task.start_time or task.create_time or ""))


def cancel(cluster: Cluster, run_id: str, *, echo: Callable[[str], None] = print) -> None:
    """Cancels a run; a model version that is registered by then stays, and no alias moves any more."""
    run = get_run(cluster, run_id)
    if run.state in ENDED:
        echo(f"the run has already ended as {run.state}")
        return
    with explained(cluster.settings):
        cluster.runs.run_service_terminate_run(run_id)
    echo("canceled; its pods are being stopped")


def wait_for_run(cluster: Cluster, run_id: str, *, echo: Callable[[str], None] = print) -> None:
    """Waits until a run has succeeded, failed or was canceled; shows every change of its state.

    Requests are repeated for `PATIENCE_SECONDS` while the server restarts, is busy or does not respond in time.

    Raises:
        ClusterError: the run did not succeed; names the tasks that failed.
    """
    state, last_response = "", time.monotonic()
    while state not in ENDED:
        try:
            run = cluster.runs.run_service_get_run(run_id)
        except FAULTS as error:
            if not transient(cluster.settings, error) or time.monotonic() - last_response > PATIENCE_SECONDS:
                raise explanation(cluster.settings, error, _not_found(run_id)) from error
        else:
            if state != "CANCELING":
                last_response = time.monotonic()
            elif time.monotonic() - last_response > PATIENCE_SECONDS:
                raise ClusterError("the run was canceled and has not ended yet: its pods may hang")
            if run.state and run.state != state:
                state = run.state
                echo(f"        {datetime.now():%H:%M:%S} {state}")
        if state not in ENDED:
            time.sleep(POLL_SECONDS)
    if state != "SUCCEEDED":
        raise ClusterError(f"the run ended as {state}{_failures(run)}")


def _not_found(run_id: str) -> str:
    return f"there is no run '{run_id}' on this cluster: `facet status` lists the newest"


def _failures(run: Any) -> str:
    """The failed tasks of a run with their messages, for the end of a sentence."""
    failed = []
    for task in tasks(run):
        if task.state == "FAILED":
            message = (task.error and task.error.message) or f"see `facet logs {run.run_id} {task.display_name}`"
            failed.append(f"{task.display_name} ({message})")
    return _reason(run.error) + (f"; failed: {', '.join(failed)}" if failed else "")


def _reason(error: Any) -> str:
    return f": {error.message}" if error and error.message else ""


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment and _is_set(moment) else "-"


def _duration(begin: datetime | None, end: datetime | None) -> str:
    if not begin or not _is_set(begin):
        return ""
    until = end if end and _is_set(end) else datetime.now(begin.tzinfo)
    return f" {timedelta(seconds=max(int((until - begin).total_seconds()), 0))}"


def _is_set(moment: datetime) -> bool:
    """The API returns the year 1970 for times that are not set."""
    return moment.year > 1970
