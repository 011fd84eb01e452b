"""Who may move the aliases of a model: one at a time.

MLflow has no compare-and-swap: an alias that was read can be another one when it is set. So whoever promotes holds a
lock from the last look at the champion to the last alias that moves. On this machine it is a locked file, which the
system gives back when its process ends, however it ends. On a cluster it is a Lease of the Kubernetes API in the
namespace of the step, whose resource version is a compare-and-swap, and which expires unless it is renewed; where the
API refuses it is the file there too. None of them binds whoever moves an alias in MLflow's own pages or by its API.
"""

import fcntl
import hashlib
import logging
import math
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
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
_NO_LEASE = (
    "%s: no Lease can be used (%s), so promotions in other pods at the same moment are not kept apart; let the service "
    "account of the step get, create, update and delete leases of coordination.k8s.io"
)

_log = logging.getLogger(__name__)


@contextmanager
def promotion_lock(names: Iterable[str]) -> Iterator[Callable[[], None]]:
    """Hold the locks of models of the registry in MLFLOW_TRACKING_URI, while the block runs.

    Gives a function to be called before each write: it renews what may expire, and raises StorageError where another
    promotion has taken it. Between two of its calls, and before the first, there may be so many calls of MLflow that
    each model is asked for twice.

    On a cluster whose API cannot be used files are locked, after a warning.

    Raises StorageError when another promotion holds a lock for longer than any should take.
    """
    on_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    ordered = sorted(set(names))  # in one order, so that nobody waits for each other
    longest = _longest(len(ordered))
    with ExitStack() as held:
        leases: list[_Lease] = []
        for name in ordered:
            lease = held.enter_context(_lease(name, longest)) if on_cluster else None
            if lease is not None:
                leases.append(lease)
            else:
                held.enter_context(_locked_file(name, longest, on_cluster))

        def renew() -> None:
            for lease in leases:
                lease.renew()

        yield renew


def _digest(name: str) -> str:
    registry = public_address(os.environ.get("MLFLOW_TRACKING_URI", "")).rstrip("/")
    return hashlib.sha256(f"{registry}\n{name}".encode()).hexdigest()[:32]


def _longest(models: int) -> float:
    """Return the seconds that the calls of MLflow between two writes take at most: two for each model, and two more."""
    return 2 * (models + 1) * patience() + 60


@contextmanager
def _locked_file(name: str, longest: float, in_pod: bool) -> Iterator[None]:
    """Lock a file below the cache of the steps, which containers of this machine share; a pod may have none."""
    home = Path(os.environ.get("FACET_HOME") or ".facet", "cache")
    cache = os.environ.get(CACHE) or (tempfile.gettempdir() if in_pod else home)
    path = Path(cache, "locks", f"promote-{_digest(name)}").absolute()
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o777)  # containers are another user than the command line
    deadline = time.monotonic() + longest
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageError(_busy(name, f"the lock {path}", longest)) from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _busy(name: str, lock: str, seconds: float) -> str:
    return f"another promotion of '{name}' holds {lock} for {seconds:.0f} s already; end it, or try again later"


@contextmanager
def _lease(name: str, longest: float) -> Iterator["_Lease | None"]:
    """Hold a Lease; None where the cluster's API cannot be used."""
    from kubernetes import client, config  # type: ignore[import-untyped]
    from kubernetes.client import ApiException  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    lease = None
    try:
        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        namespace = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
        lease = _Lease(client.CoordinationV1Api(client.ApiClient(configuration)), name, namespace, longest)
        lease.take()
    except (ApiException, HTTPError, config.ConfigException, OSError) as error:
        if isinstance(error, StorageError):
            raise
        _log.warning(_NO_LEASE, name, getattr(error, "reason", None) or error)
        lease = None
    try:
        yield lease
    finally:
        if lease is not None:
            lease.give_back()


class _Lease:
    """A Lease of the Kubernetes API (coordination.k8s.io/v1); a process has it until it expires or is given back."""

    def __init__(self, api: Any, name: str, namespace: str, longest: float) -> None:
        self._api, self._model, self._namespace, self._longest = api, name, namespace, longest
        self._name = f"facet-promote-{_digest(name)}"
        self._holder = uuid.uuid4().hex
        self._version = ""

    def take(self) -> None:
        """Wait until nobody has it, and take it. Raises ApiException when the API refuses, StorageError when busy."""
        wait = 2 * self._longest
        deadline = time.monotonic() + wait
        while not self._try():
            if time.monotonic() > deadline:
                raise StorageError(_busy(self._model, f"the Lease {self._name}", wait))
            time.sleep(_POLL_S)

    def renew(self) -> None:
        """Have it for as long again. Raises StorageError when somebody else has it, or the API cannot be used."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            self._version = self._api.replace_namespaced_lease(
                self._name, self._namespace, self._body(self._version), _request_timeout=_TIMEOUT_S
            ).metadata.resource_version
        except (ApiException, HTTPError) as error:
            reason = getattr(error, "reason", None) or error
            raise StorageError(
                f"the Lease {self._name} of '{self._model}' cannot be renewed ({reason}), another promotion may have "
                "it: promote again, which completes what has not moved"
            ) from error

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
                lease_duration_seconds=math.ceil(self._longest),
                acquire_time=now,
                renew_time=now,
            ),
        )
