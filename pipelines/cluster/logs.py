"""Logs of the tasks of a run on the cluster.

Kubeflow Pipelines stores no logs: it forwards those of a pod that still exists or that the cluster archives. Its API
does not always name the pod; then the Kubernetes API is asked, where it can be reached.
"""

from collections.abc import Iterator
from typing import Any

from pipelines.cluster.connect import Cluster
from pipelines.cluster.explain import FAULTS
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

RUN_LABEL = "pipeline/runid"
"""Label of Kubeflow Pipelines on every pod of a run."""


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
    run = get_run(cluster, run_id)
    by_name = {item.display_name: item for item in tasks(run)}
    if task not in by_name:
        raise InputError(f"run {run_id} has no task '{task}' yet; it has: {', '.join(by_name) or 'none'}")
    labels = f"{RUN_LABEL}={run_id},{STEP_LABEL}={task}"
    texts, reason = list(_from_server(cluster, run_id, by_name[task])), ""
    if not texts:
        texts, reason = _from_kubernetes(cluster.namespace, labels)
    if not texts:
        namespace = f" -n {cluster.namespace}" if cluster.namespace else ""
        raise ClusterError(
            f"the log of {task} is not available: the server has none for this run, and {reason}. "
            f"With access to the cluster: kubectl logs{namespace} -c main --tail=-1 -l {labels}"
        )
    yield from texts


def _from_server(cluster: Cluster, run_id: str, task: Any) -> Iterator[str]:
    pods = [task.pod_name, *(child.pod_name for child in task.child_tasks or [])]
    for pod in filter(None, dict.fromkeys(pods)):
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
            return str(response.data.decode("utf-8", "replace"))
    except FAULTS:
        pass
    return ""


def _from_kubernetes(namespace: str, selector: str) -> tuple[list[str], str]:
    """The logs of the pods with these labels, and the reason when there are none."""
    from kubernetes import client, config  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    configuration = client.Configuration()
    try:
        try:
            config.load_kube_config(client_configuration=configuration, persist_config=False)
        except config.ConfigException:
            config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        return [], "this machine has no kubeconfig and is not a pod"
    core = client.CoreV1Api(client.ApiClient(configuration))
    try:
        pods = core.list_namespaced_pod(namespace or "kubeflow", label_selector=selector, _request_timeout=30).items
        return [
            core.read_namespaced_pod_log(
                pod.metadata.name, pod.metadata.namespace, container="main", _request_timeout=60
            )
            for pod in pods
        ], "the pods of that task are gone"
    except (client.ApiException, HTTPError) as error:
        return [], f"Kubernetes rejects the request: {getattr(error, 'reason', None) or error}"
