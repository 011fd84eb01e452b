"""A stand-in for a Kubeflow Pipelines server on the loopback address.

It responds with the models of `kfp-server-api`, parses requests into them, and rejects what a server rejects: a missing
namespace, an unknown field, an invalid pipeline. `faults` are its misbehaviors, one for each request.
"""

import json
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import kfp_server_api as api
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from loopback_server import running

from pipelines.intermediate import read_documents

TOKEN = "a-token"
V2 = "/apis/v2beta1"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class RefusedError(Exception):
    """A response other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class StandIn:
    """The server's objects, its behavior, and every request body."""

    health: dict[str, Any] = field(
        default_factory=lambda: {"commit_sha": "7b70c7b", "tag_name": "2.17.0", "multi_user": True}
    )
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    cookie: str = ""
    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    tasks: list[Any] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    faults: list[Any] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)
    """Status by the end of a path, for every request there."""
    experiments: list[Any] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)
    recurring: dict[str, Any] = field(default_factory=dict)
    pipelines: list[Any] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """The model, dict or text of the response; RefusedError for another status than 200."""
        if path == f"{V2}/healthz":
            return self.health
        if path.startswith("/apis/v1alpha1/runs/") and path.endswith("/log"):
            return self.log(path.split("/")[-2])
        if not path.startswith(V2):
            raise RefusedError(404, "Not Listing")
        kind, *rest = path.removeprefix(f"{V2}/").split("/")
        if method == "GET" and not rest and self.health["multi_user"] and not query.get("namespace"):
            raise RefusedError(400, "Invalid input error: Namespace is empty")
        if query.get("namespace") and not self.health["multi_user"]:
            raise RefusedError(400, "In single-user mode, this cannot filter by namespace")
        handler = getattr(self, f"on_{kind}", None)
        if not handler:
            raise RefusedError(404, "Not Listing")
        return handler(method, rest, query, body)

    def log(self, pod: str) -> str:
        """As the server: it announces a text with status 200 before it looks for the pod."""
        error = {"error_message": f"error in opening log stream: pods {pod} not found", "error_details": "..."}
        return self.logs.get(pod, json.dumps(error))

    def on_experiments(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if method == "GET":
            return api.V2beta1ListExperimentsResponse(experiments=matching(self.experiments, query))
        made = parse(body, "V2beta1Experiment")
        if self.health["multi_user"] != bool(made.namespace):
            raise RefusedError(400, "Invalid input error: a namespace for several users, and only for them")
        made.experiment_id = f"exp-{len(self.experiments) + 1}"
        self.experiments.append(made)
        return made

    def on_runs(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if method == "POST" and not rest:
            made = parse(body, "V2beta1Run")
            check_pipeline(made.pipeline_spec)
            made.run_id, made.state, made.created_at = f"run-{len(self.runs) + 1}", "PENDING", NOW
            self.runs.append(made)
            return made
        if not rest:
            assert query.get("sort_by") == "created_at desc"
            return api.V2beta1ListRunsResponse(runs=self.runs[::-1][: int(query["page_size"])])
        if len(rest) > 1:
            raise RefusedError(404, "Not Listing")
        run_id, _, verb = rest[0].partition(":")
        run = next((run for run in self.runs if run.run_id == run_id), None)
        if run is None:
            raise RefusedError(404, f"Run {run_id} not found")
        if verb == "terminate":
            self.states = ["CANCELING", "CANCELED"]
            return {}
        run.state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        run.run_details = api.V2beta1RunDetails(task_details=self.tasks)
        return run

    def on_recurringruns(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if not rest and method == "GET":
            return api.V2beta1ListRecurringRunsResponse(recurring_runs=list(self.recurring.values()))
        if not rest:
            made = parse(body, "V2beta1RecurringRun")
            assert bool(made.trigger.cron_schedule) != bool(made.trigger.periodic_schedule)
            if made.trigger.cron_schedule and len(made.trigger.cron_schedule.cron.split()) != 6:
                raise RefusedError(400, "Schedule cron is not a supported format")
            if not 1 <= int(made.max_concurrency) <= 10:
                raise RefusedError(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
            assert made.pipeline_version_reference.pipeline_version_id in self.versions
            made.recurring_run_id = str(uuid.uuid4())
            made.status = "ENABLED" if made.mode == "ENABLE" else "DISABLED"
            self.recurring[made.recurring_run_id] = made
            return made
        run_id, _, verb = rest[0].partition(":")
        if run_id not in self.recurring:
            raise RefusedError(404, "RecurringRun not found")
        if method == "DELETE":
            del self.recurring[run_id]
        else:
            self.recurring[run_id].status = {"enable": "ENABLED", "disable": "DISABLED"}[verb]
        return {}

    def on_pipelines(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest == ["upload_version"]:
            assert any(pipeline.pipeline_id == query["pipelineid"] for pipeline in self.pipelines)
            spec, platform = read_documents(body)
            check_pipeline({"pipeline_spec": spec, "platform_spec": platform})
            self.uploads.append(body)
            made = api.V2beta1PipelineVersion(
                pipeline_id=query["pipelineid"],
                pipeline_version_id=f"version-{len(self.versions) + 1}",
                display_name=query["name"],
            )
            self.versions[made.pipeline_version_id] = made
            return made
        if len(rest) == 2 and rest[1] == "versions":
            return api.V2beta1ListPipelineVersionsResponse(
                pipeline_versions=matching(list(self.versions.values()), query)
            )
        if method == "GET" and rest:
            return next(pipeline for pipeline in self.pipelines if pipeline.pipeline_id == rest[0])
        if method == "GET":
            return api.V2beta1ListPipelinesResponse(pipelines=matching(self.pipelines, query))
        made = parse(body, "V2beta1Pipeline")
        made.pipeline_id = f"pipeline-{len(self.pipelines) + 1}"
        self.pipelines.append(made)
        return made


def matching(things: list[Any], query: dict[str, str]) -> list[Any]:
    """The objects that match the filter of a request."""
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
    return [thing for thing in things if thing.display_name == predicate["stringValue"]]


def parse(body: dict[str, Any], model: str) -> Any:
    """The body as a model. A field that the model does not have is refused, as by protobuf's JSON reader."""
    unknown = set(body) - set(getattr(api, model).attribute_map.values())
    if unknown:
        raise RefusedError(400, f"unknown field {sorted(unknown)}")

    class Response:
        data = json.dumps(body)

    return api.ApiClient().deserialize(Response(), model)


def check_pipeline(documents: dict[str, Any]) -> None:
    try:
        json_format.ParseDict(documents["pipeline_spec"], pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(documents["platform_spec"], pipeline_spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        raise RefusedError(400, str(error)) from error


@contextmanager
def serve(state: StandIn, certificate: Path | None = None, port: int = 0) -> Iterator[StandIn]:
    """Runs the stand-in on a port of the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            url = urlparse(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.bodies.append(raw)
            state.asked.append(f"{self.command} {url.path}")
            fault = state.faults.pop(0) if state.faults else None
            if fault == "drop":
                self.close_connection = True
                return
            if fault == "hang":
                time.sleep(0.6)
                self.close_connection = True
                return
            if fault == "garbage":
                return self.send(200, b'{"run_id": "run-', "application/json")
            if fault == "page":
                return self.send(200, b"<html>sign in</html>", "text/html; charset=utf-8")
            if fault == "login":
                return self.send(302, b"", "text/html", Location="https://dex.example/auth?state=secret")
            try:
                if isinstance(fault, int):
                    raise RefusedError(fault, "the stand-in says no")
                authorize(self.headers)
                for end, status in state.refuse.items():
                    if url.path.endswith(end):
                        raise RefusedError(status, "the stand-in says no")
                model = state.answer(self.command, url.path, query, read_body(self.headers, raw))
            except RefusedError as error:
                text = json.dumps({"error": str(error), "code": 3, "message": str(error), "details": []})
                return self.send(error.status, text.encode(), "application/json")
            if isinstance(model, str):
                return self.send(200, model.encode(), "text/plain")
            self.send(200, json.dumps(api.ApiClient().sanitize_for_serialization(model)).encode(), "application/json")

        def send(self, status: int, text: bytes, kind: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = respond  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    def authorize(headers: Any) -> None:
        if state.cookie and headers.get("Cookie") == state.cookie:
            return
        if headers.get("Authorization", "").removeprefix("Bearer ") not in state.tokens:
            raise RefusedError(401, "Unauthenticated")

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    with running(server) as address:
        state.url = f"{scheme}://{address}"
        yield state


def read_body(headers: Any, raw: bytes) -> Any:
    """The JSON of a request, or the text of the only file of a form."""
    if not raw:
        return None
    if headers["Content-Type"].startswith("multipart/form-data"):
        form = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + raw)
        (part,) = form.iter_parts()
        return part.get_content().decode() if isinstance(part.get_content(), bytes) else part.get_content()
    return json.loads(raw)
