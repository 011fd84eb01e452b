"""Logs of the tasks of a run on the cluster.

Kubeflow Pipelines stores no logs: it forwards those of a pod that still exists or that the cluster archives. Its API
does not always name the pod; then the Kubernetes API is asked, where it can be reached.
"""

import json
from collections.abc import Iterable, Iterator

from pipelines.cluster.connect import Cluster
from pipelines.cluster.explain import FAULTS
from pipelines.cluster.pods import RUN_LABEL, Pods
from pipelines.cluster.runs import get_run, tasks
from pipelines.environment.errors import ClusterError
from pipelines.resources import STEP_LABEL
from serving.runtime.errors import InputError

ROUTES = (
    "/apis/v2beta1/runs/{run}/nodes/{pod}/log",
    "/apis/v1alpha1/runs/{run}/nodes/{pod}/log",
    "/k8s/pod/logs?podname={pod}&runid={run}&podnamespace={namespace}",
)
"""Paths of a pod's log: in newer servers, older ones, and the web interface."""


def logs(cluster: Cluster, run_id: str, task: str) -> Iterator[str]:
    """The log of a task, one item for each of its pods whose log is available.

    Args:
        cluster: the server.
        run_id: the run.
        task: a task's name as `facet status` shows it.

    Raises:
        InputError: the run has no such task.
        ClusterError: the log is not available; names a kubectl command.
    """
    started = tasks(get_run(cluster, run_id))
    pods = [pod for item in started if item.name == task for pod in item.pods]
    names = list(dict.fromkeys(item.name for item in started))
    if task not in names:
        raise InputError(f"run {run_id} has no task '{task}' yet; it has: {', '.join(names) or 'none'}")
    labels = f"{RUN_LABEL}={run_id},{STEP_LABEL}={task}"
    try:
        yield from list(_from_server(cluster, run_id, pods)) or Pods(cluster.namespace).logs(labels)
    except ClusterError as error:
        namespace = f" -n {cluster.namespace}" if cluster.namespace else ""
        raise ClusterError(
            f"the log of {task} is not available: the server has none for this run, and {error}. An hour after the end "
            "of a run its pods are gone, and with them the logs that the cluster does not archive. "
            f"With access to the cluster: kubectl logs{namespace} -c main --tail=-1 -l {labels}"
        ) from error


def _from_server(cluster: Cluster, run_id: str, pods: Iterable[str]) -> Iterator[str]:
    for pod in pods:
        for route in ROUTES:
            text = _text(cluster, route.format(run=run_id, pod=pod, namespace=cluster.namespace))
            if text:
                yield text
                break


def _text(cluster: Cluster, path: str) -> str:
    """The plain text at a path of the server, "" when there is none."""
    try:
        response = cluster.client.call_api(
            path, "GET", auth_settings=["Bearer"], _preload_content=False, _return_http_data_only=True
        )
        # A server without this path responds with its start page.
        if (response.headers.get("Content-Type") or "").startswith("text/plain"):
            text = str(response.data.decode("utf-8", "replace"))
            return "" if _is_error(text) else text
    except FAULTS:
        pass
    return ""


def _is_error(text: str) -> bool:
    """Whether a log is the server's error: it has announced a log, with status 200, before it looks for the pod."""
    try:
        body = json.loads(text)
    except ValueError:
        return False
    return isinstance(body, dict) and bool(body.keys() & {"error_message", "error_details"})
