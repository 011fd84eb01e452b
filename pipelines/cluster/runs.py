"""Runs on the cluster: status, waiting for the end, cancellation."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from pipelines.cluster.connect import Cluster
from pipelines.cluster.explain import FAULTS, explained, explanation, transient
from pipelines.cluster.pods import Pods
from pipelines.environment.errors import ClusterError

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
POLL_SECONDS = 5.0
PATIENCE_SECONDS = 300.0
"""How long to wait while the cluster does not respond, or a canceled run does not end."""

_ATTEMPT = re.compile(r"(.*?)(?:\((\d+)\))?", re.DOTALL)
"""A node's name and, of an attempt, its number."""

_DECISION = re.compile(r"promote(-\d+)?")
"""Names of the tasks that decide about a model."""

_INNER = re.compile(r"root|executor|.*-driver|(condition|for-loop|iteration).*")
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
    reasons = _pod_conditions(cluster, run_id)
    for task in tasks(run):
        attempts = f", {task.attempts} attempts" if task.attempts > 1 else ""
        reason = task.error or ("" if task.state in ("SUCCEEDED", "SKIPPED") else reasons.get(task.name, ""))
        duration = _duration(task.begin, task.end)
        yield f"  {task.name:<20} {task.state:<10}{duration}{attempts}{f': {reason}' if reason else ''}"
    yield from _decisions(run)


def _decisions(run: Any) -> Iterator[str]:
    """Where the log is that says whether the champion moved: the server keeps no values that tasks return."""
    for task in tasks(run):
        if _DECISION.fullmatch(task.name) and task.state == "SUCCEEDED":
            yield f"whether the champion moved, and why: facet logs {run.run_id} {task.name}"


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a run.

    Attributes:
        name: as in the pipeline.
        state: of its last attempt; "" where the server tells none.
        begin: when the first attempt began; None before.
        end: when the last one ended; None or 1970 before.
        error: why the last one failed; mostly "", see `pods`.
        attempts: how many times it was started.
        pods: the pods that the server names.
    """

    name: str
    state: str
    begin: datetime | None
    end: datetime | None
    error: str
    attempts: int
    pods: tuple[str, ...]


def tasks(run: Any) -> list[Task]:
    """The tasks of a run by start time; the attempts of a task are one.

    A task with a retry strategy, which the stock manifests give to every one, has a node called `ingest` and one for
    each attempt, called `ingest(0)`, `ingest(1)`; servers list both or the attempts alone. In a loop several tasks have
    one name: attempt `(0)` begins another one.
    """
    details = (run.run_details.task_details or []) if run.run_details else []
    nodes: dict[str, list[list[Any]]] = {}
    attempts: dict[str, list[list[Any]]] = {}
    for node in sorted(details, key=lambda node: str(node.start_time or node.create_time or "")):
        name, number = _ATTEMPT.fullmatch(node.display_name or "").groups()  # type: ignore[union-attr]
        if not name or _INNER.fullmatch(name):
            continue
        if number is None:
            nodes.setdefault(name, []).append([node])
            continue
        lists = attempts.setdefault(name, [])
        same = next((item for item in lists if len(item) == int(number)), None) if int(number) else None
        if same is None:
            lists.append([node])
        else:
            same.append(node)
    for name, lists in attempts.items():
        for own, retried in zip_longest(list(nodes.setdefault(name, [])), lists):
            if own is None:
                nodes[name].append(retried or [])
            else:
                own[:0] = retried or []
    result = [_task(name, parts) for name, lists in nodes.items() for parts in lists]
    return sorted(result, key=lambda task: str(task.begin or ""))


def _task(name: str, parts: Sequence[Any]) -> Task:
    """Make one task of its attempts and, last, the node of the task itself where the server lists it."""
    last = parts[-1]
    errors = [part.error.message for part in parts if part.error and part.error.message]
    pods = [pod for part in parts for pod in (part.pod_name, *(child.pod_name for child in part.child_tasks or []))]
    numbered = [part for part in parts if part.display_name != name]
    return Task(
        name=name,
        state=last.state or "",
        begin=parts[0].start_time,
        end=last.end_time,
        error=errors[-1] if errors and last.state != "SUCCEEDED" else "",
        attempts=max(1, len(numbered)),
        pods=tuple(dict.fromkeys(filter(None, pods))),
    )


def _pod_conditions(cluster: Cluster, run_id: str) -> dict[str, str]:
    """Why tasks wait or have failed, by name; nothing where Kubernetes cannot be asked from here."""
    try:
        return Pods(cluster.namespace).conditions(run_id)
    except ClusterError:
        return {}


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
        raise ClusterError(f"the run ended as {state}{_failures(cluster, run)}")
    for line in _decisions(run):
        echo(line)


def _not_found(run_id: str) -> str:
    return f"there is no run '{run_id}' on this cluster: `facet status` lists the newest"


def _failures(cluster: Cluster, run: Any) -> str:
    """The failed tasks of a run with their messages, for the end of a sentence."""
    failed = []
    reasons = _pod_conditions(cluster, run.run_id)
    for task in tasks(run):
        if task.state == "FAILED":
            message = task.error or reasons.get(task.name) or f"see `facet logs {run.run_id} {task.name}`"
            failed.append(f"{task.name} ({message})")
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
