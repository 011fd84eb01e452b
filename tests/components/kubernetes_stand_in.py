"""A stand-in for the Kubernetes API of a cluster with Kubeflow Trainer, on the loopback address.

It serves TrainJobs and pods of the namespace `team`, rejects a TrainJob that the definition of the resource rejects,
and reports the conditions in `states` one after the other. `faults` are statuses that it answers first, instead.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import jsonschema
import kubernetes_validate
import pytest
from kubernetes import client
from loopback_server import running
from urllib3 import Retry

from components.shared.training import kubernetes_api, train_job
from components.shared.training.kubernetes_api import TrainJobApi
from serving.runtime.storage import make_bucket

JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
PODS = "/api/v1/namespaces/team/pods"
IMAGE = f"registry.example.org/facet/train@sha256:{64 * 'a'}"
FAILED = {"type": "Failed", "reason": "JobsFailed", "message": "jobset failed due to one or more job failures"}

# What Kubeflow Trainer 2.0 to 2.3 agree on, of the fields that may be used here.
TEXTS = {"type": "array", "maxItems": 128, "items": {"type": "string", "maxLength": 65536}}
TRAIN_JOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "trainer.kubeflow.org/v1alpha1"},
        "kind": {"const": "TrainJob"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "maxLength": 63, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}},
        },
        "spec": {
            "type": "object",
            "required": ["runtimeRef"],
            "additionalProperties": False,
            "properties": {
                "runtimeRef": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "minLength": 1, "maxLength": 253},
                        "apiGroup": {"type": "string", "maxLength": 253},
                        "kind": {"type": "string", "maxLength": 253},
                    },
                },
                "trainer": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "image": {"type": "string", "maxLength": 500},
                        "command": TEXTS,
                        "args": TEXTS,
                        "env": {"type": "array", "maxItems": 128},
                        "numNodes": {"type": "integer"},
                        "numProcPerNode": {"type": "integer"},
                        "resourcesPerNode": {"type": "object"},
                    },
                },
            },
        },
    },
}


def check_train_job(body: Any) -> None:
    """Raise ValidationError when the definition of the resource refuses a TrainJob; its pods are checked as pods."""
    jsonschema.validate(body, TRAIN_JOB)
    trainer = body["spec"]["trainer"]
    container = {"name": "node", "image": trainer["image"], "command": trainer["command"], "args": trainer["args"]}
    container |= {"env": trainer["env"], "resources": trainer.get("resourcesPerNode", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": body["metadata"], "spec": {"containers": [container]}}
    kubernetes_validate.validate(pod, "1.37.0", strict=True)
    # The webhook of Kubeflow Trainer: torch.distributed.run's own variables are not the user's.
    assert not any(variable["name"].startswith("PET_") for variable in trainer["env"])


@dataclass
class Cluster:
    """What the cluster holds, how it behaves, and what it was asked."""

    states: list[dict[str, str]] = field(default_factory=lambda: [{}, {"type": "Complete"}])
    faults: list[int | str] = field(default_factory=list)
    created: Callable[["Cluster", dict[str, Any]], None] = lambda cluster, body: None
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pod: str = "step-1"
    log: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer."""
        if path == JOBS and method == "POST":
            return self.create(body)
        if path.startswith(f"{JOBS}/"):
            name = path.rpartition("/")[2]
            if name not in self.jobs:
                return 404, {"message": f"trainjobs {name} not found"}
            return 200, self.jobs.pop(name) if method == "DELETE" else self.progress(name)
        if path == PODS:
            pod = {"metadata": {"name": "node-0"}, "spec": {"containers": []}, "status": {"phase": "Failed"}}
            return 200, {"kind": "PodList", "items": [pod]}
        if path == f"{PODS}/node-0/log":
            return 200, self.log
        if path == f"{PODS}/{self.pod}":
            containers = [{"name": "wait", "image": "argo"}, {"name": "main", "image": IMAGE}]
            return 200, {"metadata": {"name": self.pod, "uid": "uid-1"}, "spec": {"containers": containers}}
        return 404, "404 page not found"

    def create(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Take a TrainJob."""
        try:
            check_train_job(body)
        except Exception as error:
            return 422, {"message": str(error)}
        name = body["metadata"]["name"]
        if name in self.jobs:
            return 409, {"reason": "AlreadyExists"}
        self.bodies.append(body)
        self.jobs[name] = body
        try:
            self.created(self, body)
        except Exception as error:
            self.states = [{"type": "Failed", "message": f"a mistake in the test: {error!r}"}]
        return 201, body

    def progress(self, name: str) -> dict[str, Any]:
        """The TrainJob in its next state; the last one stays."""
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        status = {"conditions": [{"status": "True", **state}]} if state else {}
        return {**self.jobs[name], "status": status}


@contextmanager
def serve(cluster: Cluster) -> Iterator[Cluster]:
    """Answer for `cluster` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            path = urlparse(self.path).path
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            cluster.asked.append((self.command, path))
            fault = cluster.faults.pop(0) if cluster.faults else None
            if fault == "drop":
                self.close_connection = True
                return
            status, answer = (
                (fault, {"message": "no"}) if fault else cluster.answer(self.command, path, json.loads(raw or b"{}"))
            )
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(int(status))
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = respond  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        cluster.url = f"http://{address}"
        yield cluster


@contextmanager
def step_on_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster, and this process in the pod `step-1` of it, with little patience."""
    monkeypatch.setenv("KFP_POD_NAME", "step-1")
    monkeypatch.setattr(train_job, "POLL_S", 0.01)
    quick = Retry(
        total=5,
        backoff_factor=0.001,
        status_forcelist=kubernetes_api.RETRIES.status_forcelist,
        allowed_methods=None,
        raise_on_status=False,
    )
    monkeypatch.setattr(kubernetes_api, "RETRIES", quick)
    with serve(Cluster()) as state:
        configuration = client.Configuration(host=state.url)
        monkeypatch.setattr(train_job, "connect", lambda: TrainJobApi(configuration, "team"))
        yield state


def artifact_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Where KFP's launcher puts the artifacts of a step whose pipeline root is in S3, and its address there."""
    monkeypatch.setattr(train_job, "_MOUNTS", (f"{folder}/s3/",))
    bucket = folder.name.replace("_", "-").lower()
    make_bucket(bucket)
    artifacts = folder / "s3" / bucket / "run"
    artifacts.mkdir(parents=True)
    return artifacts, f"s3://{bucket}/run"


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
