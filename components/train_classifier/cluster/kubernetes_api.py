"""TrainJobs and pods behind the Kubernetes API, as the account of this pod may use them."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.runtime.errors import InputError

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_REQUEST_S = 30
_LOG_LINES = 20


class UnansweredError(Exception):
    """The API gave no answer this time; it may give one later."""


class TrainJobApi:
    """TrainJobs and pods of one namespace; `client` is an ApiClient of the package kubernetes.

    Every method raises InputError for what the API refuses, with what to do, and UnansweredError for what may pass.
    """

    def __init__(self, client: Any, namespace: str) -> None:
        from kubernetes import client as kubernetes  # type: ignore[import-untyped]

        self.namespace = namespace
        self._objects = kubernetes.CustomObjectsApi(client)
        self._core = kubernetes.CoreV1Api(client)

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Create a TrainJob; False when there is one of its name."""
        with self._errors(f"creating the TrainJob {manifest['metadata']['name']}"):
            answered = self._unless(409, self._objects.create_namespaced_custom_object, PLURAL, manifest)
        return answered is not None

    def get(self, name: str) -> dict[str, Any] | None:
        """Return a TrainJob, None when there is none."""
        with self._errors(f"reading the TrainJob {name}"):
            found: dict[str, Any] | None = self._unless(404, self._objects.get_namespaced_custom_object, PLURAL, name)
        return found

    def delete(self, name: str) -> None:
        """Delete a TrainJob with its pods; nothing happens when there is none."""
        with self._errors(f"deleting the TrainJob {name}"):
            self._unless(
                404, self._objects.delete_namespaced_custom_object, PLURAL, name, propagation_policy="Background"
            )

    def own_pod(self) -> dict[str, Any]:
        """Return the pod that this process runs in."""
        # KFP tells the name; a host name is cut after 63 characters.
        name = os.environ.get("KFP_POD_NAME") or socket.gethostname()
        with self._errors(f"reading the pod of this step, {name}"):
            pod = self._core.read_namespaced_pod(name, self.namespace, _request_timeout=_REQUEST_S)
        found: dict[str, Any] = self._core.api_client.sanitize_for_serialization(pod)
        return found

    def last_words(self, name: str) -> str:
        """Return the last lines of the failed pods of a TrainJob, "" where they cannot be had."""
        try:
            with self._errors("reading logs"):
                pods = self._core.list_namespaced_pod(
                    self.namespace,
                    label_selector=f"jobset.sigs.k8s.io/jobset-name={name}",
                    _request_timeout=_REQUEST_S,
                ).items
                failed = [pod.metadata.name for pod in pods if pod.status.phase == "Failed"]
                texts = [
                    self._core.read_namespaced_pod_log(
                        pod, self.namespace, tail_lines=_LOG_LINES, _request_timeout=_REQUEST_S
                    )
                    for pod in failed[:1]
                ]
        except (InputError, UnansweredError):
            return ""
        return "".join(texts)

    def _unless(self, status: int, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The answer of a call, None when its status is `status`."""
        from kubernetes.client import ApiException  # type: ignore[import-untyped]

        try:
            return call(GROUP, VERSION, self.namespace, *arguments, **named, _request_timeout=_REQUEST_S)
        except ApiException as error:
            if error.status == status:
                return None
            raise

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            if error.status == 429 or error.status >= 500:
                raise UnansweredError(f"{doing}: {error.status} {error.reason}") from error
            raise InputError(f"{doing}: {_advice(error.status, error.body or error.reason, self.namespace)}") from error
        except HTTPError as error:
            raise UnansweredError(f"{doing}: {error}") from error


def _advice(status: int, said: str, namespace: str) -> str:
    if status in (401, 403):
        return (
            f"the account of this step may not do that in the namespace {namespace}; apply "
            f"docker/kubernetes/overlays/training there ({said})"
        )
    if status == 404:
        return f"the cluster does not know {PLURAL}.{GROUP}/{VERSION}: install Kubeflow Trainer ({said})"
    return f"the cluster refuses it: {said}"


def connect() -> TrainJobApi:
    """Connect with the account of this pod. Raises InputError outside of a cluster."""
    from kubernetes import client, config

    try:
        config.load_incluster_config()
        namespace = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError) as error:
        raise InputError(
            "train_job starts pods on a Kubernetes cluster, and this step is in none: leave train_job out, or use "
            "`python -m torch.distributed.run` on this machine"
        ) from error
    return TrainJobApi(client.ApiClient(), namespace)
