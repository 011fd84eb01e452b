"""The lock of a promotion on a cluster: a Lease, against a stand-in of the Kubernetes API."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubernetes import config
from loopback_server import running

from components.promote import lock
from components.promote.lock import promotion_lock
from serving.runtime.errors import StorageError

LEASES = "/apis/coordination.k8s.io/v1/namespaces/team/leases"


class Api:
    """Leases of the namespace `team`, with resource versions as Kubernetes has them; `status` is answered instead."""

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.status = 0
        self.seen: list[dict[str, Any]] = []
        self._next = 0
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        with self._lock:
            if self.status:
                return self.status, {"message": "no"}
            name = path.removeprefix(LEASES).strip("/") or (body or {})["metadata"]["name"]
            found = self.leases.get(name)
            if method == "GET":
                return (200, found) if found else (404, {})
            if method == "DELETE":
                return (200, self.leases.pop(name)) if found and self._is(found, body["preconditions"]) else (409, {})
            if (method == "POST") == bool(found) or (found and not self._is(found, body["metadata"])):
                return 409, {}
            kubernetes_validate.validate(body, "1.37.0", strict=True)
            self._next += 1
            body["metadata"]["resourceVersion"] = str(self._next)
            self.seen.append(body)
            self.leases[name] = body
            return 200, body

    @staticmethod
    def _is(found: dict[str, Any], given: dict[str, Any]) -> bool:
        return bool(given["resourceVersion"] == found["metadata"]["resourceVersion"])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.command in ("POST", "PUT"):
                body |= {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            status, answer = state.answer(self.command, self.path.partition("?")[0], body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._any)
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:

        def load(client_configuration: Any) -> None:
            client_configuration.host = f"http://{url}"

        (tmp_path / "namespace").write_text("team\n")
        monkeypatch.setattr(config, "load_incluster_config", load)
        monkeypatch.setattr(lock, "_NAMESPACE_FILE", tmp_path / "namespace")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
        yield state


def test_one_at_a_time_and_given_back(api: Api) -> None:
    inside, most, turns = 0, 0, []

    def work(number: int) -> None:
        nonlocal inside, most
        with promotion_lock(["masks", "people"] if number % 2 else ["people", "masks"]):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            turns.append(number)
            inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and sorted(turns) == list(range(6)) and api.leases == {}
    assert len({one["spec"]["holderIdentity"] for one in api.seen}) == 12


def test_the_lease_of_a_pod_that_is_gone_expires(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with promotion_lock(["masks"]):
        (name,) = api.leases
        held = json.loads(json.dumps(api.leases[name]))
    api.leases[name] = held
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "0.1")
    monkeypatch.setattr(lock, "_longest", lambda models: 0.3)
    busy = "another promotion of 'masks' holds the Lease facet-promote-.* already"
    with pytest.raises(StorageError, match=busy), promotion_lock(["masks"]):
        pass
    held["spec"]["renewTime"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    with promotion_lock(["masks"]):
        assert api.leases[name]["spec"]["holderIdentity"] != held["spec"]["holderIdentity"]
    assert api.leases == {}


@pytest.mark.parametrize("status", [403, 404, 500])
def test_without_permission_a_file_is_locked_and_that_is_said(
    api: Api, status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.status = status
    monkeypatch.setattr(lock, "_longest", lambda models: 0.3)
    busy = pytest.raises(StorageError, match="another promotion of 'masks' holds the lock .*/cache/locks/promote-")
    with promotion_lock(["masks"]) as renew, busy, promotion_lock(["masks"]):
        pass
    renew()
    assert "promotions in other pods at the same moment are not kept apart" in caplog.text
    assert "let the service account of the step get, create, update and delete leases" in caplog.text


def test_a_lease_is_renewed_before_each_write_and_its_loss_is_an_error(api: Api) -> None:
    with promotion_lock(["masks", "people"]) as renew:
        first = {name: lease["spec"]["renewTime"] for name, lease in api.leases.items()}
        renew()
        renew()
        assert len(api.seen) == 6 and all(first[name] < one["spec"]["renewTime"] for name, one in api.leases.items())
        lost = max(api.leases)
        api.leases[lost]["metadata"]["resourceVersion"] = "another's"
        with pytest.raises(StorageError, match=f"the Lease {lost} of '.*' cannot be renewed .*: promote again"):
            renew()
    assert list(api.leases) == [lost], "what another promotion has is not deleted"


def test_files_are_by_registry_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for uri in ("http://one", "http://user:secret@one/", "http://two"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with promotion_lock(["masks", "a/../b"]):
            pass
    files = list((tmp_path / "cache" / "locks").iterdir())
    assert len(files) == 4 and (tmp_path / "cache" / "locks").stat().st_mode & 0o777 == 0o777
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in files), "a container, as another user, locks them too"
    monkeypatch.setattr(lock, "_longest", lambda models: 0.3)
    busy = pytest.raises(StorageError, match="holds the lock .*/cache/locks/promote-")
    with promotion_lock(["masks"]), busy, promotion_lock(["masks"]):
        pass
