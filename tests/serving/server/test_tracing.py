"""Traces of real requests, as a collector receives them over OTLP."""

import asyncio
import gzip
import http.server
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from server_process import picture, serving

from serving.runtime.errors import InputError
from serving.server.exchange import make_exchange
from serving.server.tracing import make_tracing

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(http.server.ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []
        self.raw: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.raw.append((self.path, dict(self.headers), body))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_request_is_a_span_with_its_steps(collector: Collector, model_file: Path, tmp_path: Path) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=door",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
    }
    began = time.time_ns()
    with serving(tmp_path, "--model", str(model_file), **variables) as server:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "door-17", "X-API-Key": "hunter2"}
        assert server.request("POST", "/predict", picture(), **headers)[0] == 200
        assert server.request("POST", "/predict", b"no image")[0] == 400
        server.request("GET", "/v2/health/ready")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0, "what is left is sent before it ends"
    ended = time.time_ns()
    path, sent, _ = collector.raw[0]
    assert path == "/v1/traces" and sent["x-tenant"] == "door"
    (resource,) = {str(request.resource_spans[0].resource) for request in collector.requests}
    assert "facet-serving" in resource and "deployment.environment" in resource
    by_name: dict[str, list[Any]] = {}
    for span in collector.spans:
        by_name.setdefault(span.name, []).append(span)
        assert began <= span.start_time_unix_nano <= span.end_time_unix_nano <= ended
    good, bad = by_name["POST predict"]
    assert good.trace_id.hex() == TRACE and good.parent_span_id.hex() == PARENT
    assert bad.trace_id.hex() != TRACE and not bad.parent_span_id
    said = {one.key: one.value for one in good.attributes}
    assert said["facet.request_id"].string_value == "door-17"
    assert said["http.response.status_code"].int_value == 200
    assert {one.key: one.value.string_value for one in bad.attributes}["error.type"] == "not_an_image"
    steps = [by_name[name][0] for name in ("queue", "input", "infer", "output")]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        assert step.trace_id == good.trace_id and step.parent_span_id == good.span_id
        assert good.start_time_unix_nano <= step.start_time_unix_nano
        assert step.end_time_unix_nano <= good.end_time_unix_nano
        assert following is None or following.start_time_unix_nano == step.end_time_unix_nano
        assert {one.key: one.value.string_value for one in step.attributes}["facet.model"] == "tiny"
    assert not any(b"hunter2" in body or b"JFIF" in body for _, _, body in collector.raw)
    assert "Traceback" not in server.log.read_text()


def test_a_collector_that_is_down_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing = make_tracing()
    assert tracing is not None
    tracing.add(make_exchange("POST", "/predict", "predict"))
    began = time.monotonic()
    asyncio.run(tracing.stop(0.3))
    assert 0.2 < time.monotonic() - began < 3, "it tried, and gave up"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "expected otlp or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "expected http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
        ({}, None),
    ],
)
def test_what_is_asked_for(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if expected is None:
        assert make_tracing() is None
    else:
        with pytest.raises(InputError, match=expected):
            make_tracing()
