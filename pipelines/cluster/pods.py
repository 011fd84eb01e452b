"""The pods of a run, from Kubernetes itself: their logs and why they wait or have failed.

The Pipelines API of 2.17 names no pods and gives no reasons for a failure, and its web page shows a pod whose image
cannot be pulled as running.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from pipelines.environment.errors import ClusterError
from pipelines.resources import STEP_LABEL

RUN_LABEL = "pipeline/runid"
"""Label of Kubeflow Pipelines on every pod of a run."""

_MAIN = "main"
_STARTING = ("ContainerCreating", "PodInitializing")


class Pods:
    """The pods of one namespace. Raises ClusterError with the reason where Kubernetes cannot be asked."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config  # type: ignore[import-untyped]
        from urllib3.exceptions import HTTPError

        configuration = client.Configuration()
        try:
            try:
                config.load_kube_config(client_configuration=configuration, persist_config=False)
            except config.ConfigException:
                config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise ClusterError("this machine has no kubeconfig and is not a pod") from error
        configuration.retries = False
        self._namespace = namespace or "kubeflow"
        self._core = client.CoreV1Api(client.ApiClient(configuration))
        self._faults = (client.ApiException, HTTPError)

    def logs(self, selector: str) -> list[str]:
        """The logs of the pods with these labels. Raises ClusterError with the reason when there are none."""
        pods = self._list(selector)
        if not pods:
            raise ClusterError("the pods of that task are gone")
        read = partial(self._call, self._core.read_namespaced_pod_log, container=_MAIN, _request_timeout=60)
        return [read(pod.metadata.name, pod.metadata.namespace) for pod in pods]

    def conditions(self, run_id: str) -> dict[str, str]:
        """By task: why its newest pod does not start, or how it has failed; other tasks are absent."""
        pods = sorted(self._list(f"{RUN_LABEL}={run_id}"), key=lambda pod: str(pod.metadata.creation_timestamp))
        found = {(pod.metadata.labels or {}).get(STEP_LABEL): "; ".join(_conditions(pod)) for pod in pods}
        return {task: text for task, text in found.items() if task and text}

    def _list(self, selector: str) -> list[Any]:
        pods = self._call(self._core.list_namespaced_pod, self._namespace, label_selector=selector, _request_timeout=30)
        return list(pods.items)

    def _call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except self._faults as error:
            raise ClusterError(f"Kubernetes rejects the request: {getattr(error, 'reason', None) or error}") from error


def _conditions(pod: Any) -> Iterator[str]:
    for condition in pod.status.conditions or [] if pod.status else []:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"not scheduled: {condition.message or condition.reason}"
    containers = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    for container in containers:
        waiting, ended = container.state.waiting, container.state.terminated
        if waiting and waiting.reason not in _STARTING:
            yield f"{waiting.reason}: {waiting.message}" if waiting.message else str(waiting.reason)
        elif ended and ended.exit_code and container.name == _MAIN:
            yield f"{ended.reason or 'Error'} (exit code {ended.exit_code})"
