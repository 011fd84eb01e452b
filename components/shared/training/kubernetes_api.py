"""TrainJobs and pods of one namespace, through the Kubernetes API with the service account of this pod.

The Kubeflow SDK (0.5) is not used: docs/architecture.md, chapter 4, has what it lacks. This file can go when it has it.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from urllib3 import Retry

from serving.runtime.errors import InputError

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"

RETRIES = Retry(
    total=14,
    backoff_factor=1.0,
    backoff_max=30.0,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
)
"""For about five minutes a request is sent again while the API does not answer; each can be sent twice safely."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT_S = 30
_LOG_LINES = 20


class TrainJobApi:
    """TrainJobs and pods of `namespace`; `configuration` is one of the package kubernetes.

    Every method raises InputError, which says what to do, when the API refuses or does not answer.
    """

    def __init__(self, configuration: Any, namespace: str) -> None:
        from kubernetes import client  # type: ignore[import-untyped]

        configuration.retries = RETRIES
        api_client = client.ApiClient(configuration)
        self.namespace = namespace
        self._custom_objects = client.CustomObjectsApi(api_client)
        self._core = client.CoreV1Api(api_client)

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Create a TrainJob; returns False when one of that name exists."""
        return self._call("create", manifest, absent=409) is not None

    def get(self, name: str) -> dict[str, Any] | None:
        """Return a TrainJob, None when there is none."""
        job: dict[str, Any] | None = self._call("get", name, absent=404)
        return job

    def delete(self, name: str) -> None:
        """Delete a TrainJob with its pods; does nothing when there is none."""
        self._call("delete", name, absent=404, propagation_policy="Background")

    def own_pod(self) -> Any:
        """Return the V1Pod that this process runs in."""
        # KFP sets the variable; a host name is cut after 63 characters.
        name = os.environ.get("KFP_POD_NAME") or socket.gethostname()
        with self._readable_errors(f"get pod {name}"):
            return self._core.read_namespaced_pod(name, self.namespace, _request_timeout=_TIMEOUT_S)

    def failure_log(self, name: str) -> str:
        """Return the last lines of a failed pod of a TrainJob, "" when they cannot be read."""
        options = {"namespace": self.namespace, "_request_timeout": _TIMEOUT_S}
        selector = f"jobset.sigs.k8s.io/jobset-name={name}"
        try:
            with self._readable_errors("read logs"):
                pods = self._core.list_namespaced_pod(label_selector=selector, **options).items
                failed = [pod.metadata.name for pod in pods if pod.status.phase == "Failed"]
                if not failed:
                    return ""
                return str(self._core.read_namespaced_pod_log(failed[0], tail_lines=_LOG_LINES, **options))
        except InputError:
            return ""

    def _call(self, verb: str, argument: Any, *, absent: int, **options: Any) -> Any:
        """The response of a request about a TrainJob, None when its status is `absent`."""
        from kubernetes.client import ApiException  # type: ignore[import-untyped]

        method = getattr(self._custom_objects, f"{verb}_namespaced_custom_object")
        name = argument if isinstance(argument, str) else argument["metadata"]["name"]
        with self._readable_errors(f"{verb} TrainJob {name}"):
            try:
                return method(GROUP, VERSION, self.namespace, PLURAL, argument, **options, _request_timeout=_TIMEOUT_S)
            except ApiException as error:
                if error.status == absent:
                    return None
                raise

    @contextmanager
    def _readable_errors(self, action: str) -> Iterator[None]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            raise InputError(f"{action}: {self._advice(error)}") from error
        except HTTPError as error:
            raise InputError(f"{action}: the Kubernetes API does not answer: {error}") from error

    def _advice(self, error: Any) -> str:
        message = error.body or error.reason
        if error.status in RETRIES.status_forcelist:
            return f"the Kubernetes API does not answer: {error.status} {error.reason}"
        if error.status in (401, 403):
            return (
                f"the service account of this step may not do that in the namespace {self.namespace}; apply "
                f"docker/kubernetes/overlays/training there ({message})"
            )
        if error.status == 404:
            return f"the cluster has no {PLURAL}.{GROUP}/{VERSION}: install Kubeflow Trainer ({message})"
        return f"the Kubernetes API rejects the request: {message}"


def connect() -> TrainJobApi:
    """Connect with the service account of this pod. Raises InputError outside of a cluster."""
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
        namespace = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError) as error:
        raise InputError(
            "train_job starts pods on a Kubernetes cluster, and this step does not run in one: leave train_job out, or "
            "use `python -m torch.distributed.run` on this machine"
        ) from error
    return TrainJobApi(configuration, namespace)
