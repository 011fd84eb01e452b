"""Who may move the aliases of a model: one at a time.

MLflow has no compare-and-swap: an alias that was read can be another one when it is set. So whoever promotes holds a
lock from the last look at the champion to the last alias that moves. On this machine it is a locked file, which the
system gives back when its process ends, however it ends. On a cluster it is a Lease of the Kubernetes API in the
namespace of the step, whose resource version is a compare-and-swap, and which expires. Neither binds whoever moves an
alias in MLflow's own pages or by its API.
"""

import fcntl
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.shared.cache import VARIABLE as CACHE
from serving.runtime.addresses import public_address
from serving.runtime.errors import StorageError
from serving.runtime.patience import patience

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_POLL_S = 0.2
_TIMEOUT_S = 30
_CALLS = 8
"""Calls of MLflow under the lock, each of which may take as long as patience lasts, before a Lease may expire."""
_UNLOCKED = (
    "%s: no Lease can be used (%s), so two promotions at the same moment are not kept apart; let the service account "
    "of the step get, create, update and delete leases of coordination.k8s.io"
)

_log = logging.getLogger(__name__)


@contextmanager
def promotion_lock(names: Iterable[str]) -> Iterator[None]:
    """Hold the locks of models of the registry in MLFLOW_TRACKING_URI, while the block runs.

    On a cluster whose API cannot be used the block runs without, after a warning.

    Raises StorageError when another promotion holds a lock for longer than any should take.
    """
    on_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    with ExitStack() as held:
        for name in sorted(set(names)):  # in one order, so that nobody waits for each other
            held.enter_context(_lease(name) if on_cluster else _locked_file(name))
        yield


def _digest(name: str) -> str:
    registry = public_address(os.environ.get("MLFLOW_TRACKING_URI", "")).rstrip("/")
    return hashlib.sha256(f"{registry}\n{name}".encode()).hexdigest()[:32]


def _longest() -> float:
    return _CALLS * patience() + 60


@contextmanager
def _locked_file(name: str) -> Iterator[None]:
    """Lock a file below the cache of the steps, which containers of this machine share."""
    cache = os.environ.get(CACHE) or Path(os.environ.get("FACET_HOME") or ".facet", "cache")
    path = Path(cache, "locks", f"promote-{_digest(name)}").absolute()
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o777)  # containers are another user than the command line
    deadline = time.monotonic() + _longest()
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageError(_busy(name, f"the lock {path}")) from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _busy(name: str, lock: str) -> str:
    return f"another promotion of '{name}' holds {lock} for {_longest():.0f} s already; end it, or try again later"


@contextmanager
def _lease(name: str) -> Iterator[None]:
    from kubernetes import client, config  # type: ignore[import-untyped]
    from kubernetes.client import ApiException  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    lease = None
    try:
        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        namespace = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
        lease = _Lease(client.CoordinationV1Api(client.ApiClient(configuration)), name, namespace)
        lease.take()
    except (ApiException, HTTPError, config.ConfigException, OSError) as error:
        if isinstance(error, StorageError):
            raise
        _log.warning(_UNLOCKED, name, getattr(error, "reason", None) or error)
        lease = None
    try:
        yield
    finally:
        if lease is not None:
            lease.give_back()


class _Lease:
    """A Lease of the Kubernetes API (coordination.k8s.io/v1); a process has it until it expires or is given back."""

    def __init__(self, api: Any, name: str, namespace: str) -> None:
        self._api, self._model, self._namespace = api, name, namespace
        self._name = f"facet-promote-{_digest(name)}"
        self._holder = uuid.uuid4().hex
        self._version = ""

    def take(self) -> None:
        """Wait until nobody has it, and take it. Raises ApiException when the API refuses, StorageError when busy."""
        deadline = time.monotonic() + 2 * _longest()
        while not self._try():
            if time.monotonic() > deadline:
                raise StorageError(_busy(self._model, f"the Lease {self._name}"))
            time.sleep(_POLL_S)

    def give_back(self) -> None:
        """Delete it, if it is still the one that was taken; where that fails it expires."""
        from kubernetes import client
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        condition = client.V1DeleteOptions(preconditions=client.V1Preconditions(resource_version=self._version))
        try:
            self._api.delete_namespaced_lease(self._name, self._namespace, body=condition, _request_timeout=_TIMEOUT_S)
        except (ApiException, HTTPError) as error:
            _log.warning("the Lease %s was not given back (%s); it expires", self._name, error)

    def _try(self) -> bool:
        from kubernetes.client import ApiException

        options = {"_request_timeout": _TIMEOUT_S}
        passing: tuple[int, ...] = (409,)  # somebody was quicker
        try:
            try:
                found = self._api.read_namespaced_lease(self._name, self._namespace, **options)
            except ApiException as error:
                if error.status != 404:
                    raise
                taken = self._api.create_namespaced_lease(self._namespace, self._body(None), **options)
            else:
                if found.spec.renew_time + timedelta(seconds=found.spec.lease_duration_seconds) > datetime.now(UTC):
                    return False
                passing = (404, 409)
                body = self._body(found.metadata.resource_version)
                taken = self._api.replace_namespaced_lease(self._name, self._namespace, body, **options)
        except ApiException as error:
            if error.status in passing:
                return False
            raise
        self._version = taken.metadata.resource_version
        return True

    def _body(self, version: str | None) -> Any:
        from kubernetes import client

        now = datetime.now(UTC)
        return client.V1Lease(
            metadata=client.V1ObjectMeta(name=self._name, resource_version=version),
            spec=client.V1LeaseSpec(
                holder_identity=self._holder,
                lease_duration_seconds=int(_longest()),
                acquire_time=now,
                renew_time=now,
            ),
        )
