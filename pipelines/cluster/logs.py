"""What the steps of a run on the cluster wrote.

Kubeflow Pipelines keeps no logs itself: it passes on those of pods that still exist, or that the cluster archives, to
whoever names the pod. The API does not always name it, so the Kubernetes API is asked too, where there is a way to it.
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
"""Where servers give out a pod's log: newer ones, older ones, and the web interface."""

RUN_LABEL = "pipeline/runid"
"""Label that Kubeflow Pipelines puts on every pod of a run."""


def logs(cluster: Cluster, run_id: str, task: str) -> Iterator[str]:
    """The text that a task wrote, one item for each of its pods that can still be read.

    Args:
        cluster: the server.
        run_id: the run.
        task: a task's name as `facet status` shows it.

    Raises:
        InputError: when the run has no such task.
        ClusterError: when neither the server nor Kubernetes gives out the log; says what to type instead.
    """
    run = get_run(cluster, run_id)
    known = {item.display_name: item for item in tasks(run)}
    if task not in known:
        raise InputError(f"run {run_id} has no task '{task}' yet; it has: {', '.join(known) or 'none'}")
    labels = f"{RUN_LABEL}={run_id},{STEP_LABEL}={task}"
    found = list(_from_server(cluster, run_id, known[task]))
    reason = ""
    if not found:
        found, reason = _from_kubernetes(cluster.namespace, labels)
    if not found:
        namespace = f" -n {cluster.namespace}" if cluster.namespace else ""
        raise ClusterError(
            f"the log of {task} is not to be had: the server gives out none for this run, and {reason}. "
            f"With access to the cluster: kubectl logs{namespace} -c main --tail=-1 -l {labels}"
        )
    yield from found


def _from_server(cluster: Cluster, run_id: str, task: Any) -> Iterator[str]:
    pods = [task.pod_name, *(child.pod_name for child in task.child_tasks or [])]
    for pod in filter(None, dict.fromkeys(pods)):
        for route in ROUTES:
            text = _text(cluster, route.format(run=run_id, pod=pod, namespace=cluster.namespace))
            if text:
                yield text
                break


def _text(cluster: Cluster, path: str) -> str:
    """The text at a path of the server, "" when it has none there."""
    try:
        response = cluster.client.call_api(
            path, "GET", auth_settings=["Bearer"], _preload_content=False, _return_http_data_only=True
        )
        # A server that does not know the path answers with its start page.
        if (response.headers.get("Content-Type") or "").startswith("text/plain"):
            return str(response.data.decode("utf-8", "replace"))
    except FAULTS:
        pass
    return ""


def _from_kubernetes(namespace: str, selector: str) -> tuple[list[str], str]:
    """The logs of the pods with these labels; else why there are none."""
    from kubernetes import client, config  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    configuration = client.Configuration()
    try:
        try:
            config.load_kube_config(client_configuration=configuration, persist_config=False)
        except config.ConfigException:
            config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        return [], "this machine has no kubeconfig and is no pod"
    core = client.CoreV1Api(client.ApiClient(configuration))
    try:
        pods = core.list_namespaced_pod(namespace or "kubeflow", label_selector=selector, _request_timeout=30).items
        return [
            core.read_namespaced_pod_log(
                pod.metadata.name, pod.metadata.namespace, container="main", _request_timeout=60
            )
            for pod in pods
        ], "Kubernetes has no pod of that task any more"
    except (client.ApiException, HTTPError) as error:
        return [], f"Kubernetes refuses: {getattr(error, 'reason', None) or error}"
