"""Ids of requests, what the log and the metrics say about them, and failures that name them."""

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from server_requests import picture
from starlette.testclient import TestClient
from stub_server import post, running, until

from serving.runtime.predictor import Predictor
from serving.server.exchange import facts
from serving.server.http.app import create_app
from serving.server.limits import Limits
from serving.server.state import ModelRepository, ServerState


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.facts for record in caplog.records if record.name == "serving.access"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def noted(caplog: pytest.LogCaptureFixture) -> None:
    """A record's facts at the time at which it was written."""

    def note(record: logging.LogRecord) -> bool:
        if hasattr(record, "exchange"):
            record.facts = facts(record.exchange)
        return True

    caplog.handler.addFilter(note)
    caplog.set_level(logging.INFO)


@pytest.fixture
def state(predictor: Predictor) -> ServerState:
    return ServerState(limits=Limits(max_body=2**20), models=ModelRepository(predictor))


@pytest.fixture
def asked(state: ServerState) -> TestClient:
    return TestClient(create_app(state), raise_server_exceptions=False)


def test_an_answer_has_the_id_of_its_request_and_its_line_the_times(
    asked: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = asked.post("/predict", content=picture(), headers={"X-Request-Id": "door-17"})
    assert response.status_code == 200 and response.headers["x-request-id"] == "door-17"
    other = asked.get("/v2/models/none?token=hunter2").headers["x-request-id"]
    first, second = lines(caplog)
    assert (first["request_id"], first["model"], first["version"], first["rows"]) == ("door-17", "tiny", "3", 1)
    assert first["status"] == 200 and first["infer_ms"] > 0 and first["input_ms"] > 0 and first["output_ms"] > 0
    assert first["queue_ms"] + first["input_ms"] + first["infer_ms"] + first["output_ms"] <= first["ms"] + 0.01
    assert (second["request_id"], second["status"], second["reason"]) == (other, 404, "not_found")
    assert "model" not in second and not any("hunter2" in str(line) for line in lines(caplog))


def test_health_checks_and_scrapes_are_left_out(asked: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/ping", "/v2/models/tiny/ready"):
        response = asked.get(path)
        assert response.status_code == 200 and response.headers["x-content-type-options"] == "nosniff"
    assert not lines(caplog)


def test_a_failure_names_its_request_and_is_logged_with_its_cause(
    asked: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.server.http.predict._answer", lambda *arguments: 1 / 0)
    response = asked.post("/predict", content=picture(), headers={"X-Request-Id": "door-17"})
    assert response.status_code == 500 and response.headers["x-request-id"] == "door-17"
    assert response.json()["error"].endswith("request door-17") and "ZeroDivision" not in response.text
    (cause,) = (record for record in caplog.records if record.exc_info)
    assert "door-17" in cause.getMessage() and cause.exc_info and cause.exc_info[0] is ZeroDivisionError
    assert lines(caplog)[0]["status"] == 500


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/predict", b"", "empty"),
        ("/predict", b"no image", "not_an_image"),
        ("/predict", picture()[:200], "truncated"),
        ("/predict", bytes(2**20 + 1), "too_large"),
        ("/predict?box=1", picture(), "invalid"),
        ("/predict?model=none", picture(), "not_found"),
        ("/v2/models/tiny/infer", b"{}", "invalid"),
    ],
)
def test_refusals_are_counted_by_reason(
    asked: TestClient, caplog: pytest.LogCaptureFixture, path: str, body: bytes, reason: str
) -> None:
    assert asked.post(path, content=body).status_code in (400, 404, 413)
    assert lines(caplog)[-1]["reason"] == reason
    assert re.findall(r'facet_refused_total\{reason="(\w+)"\} 1\.0', asked.get("/metrics").text) == [reason]


def test_overload_is_counted_by_reason_and_pending_requests_are_shown() -> None:
    release: list[bool] = []

    def act(data: bytes, work: Any) -> None:
        until(lambda: bool(release))

    with running(act, max_waiting=1, request_s=1.0) as server, ThreadPoolExecutor(8) as pool:
        first = pool.submit(server.request, "POST", "/predict", b"x")
        until(lambda: server.state.lanes.busy)
        others = [pool.submit(server.request, "POST", "/predict", b"x") for _ in range(4)]
        until(lambda: sum(other.done() for other in others) == 3)
        pending = server.state.lanes.pending()
        assert pending == {("stub", "1"): 1}
        text = server.state.metrics.text(ready=True, failures=0, models=[("stub", "1")], pending=pending).decode()
        assert 'nv_inference_pending_request_count{model="stub",version="1"} 1.0' in text
        assert 'facet_refused_total{reason="queue_full"} 3.0' in text
        assert first.result()[0] == 504
        text = server.state.metrics.text(ready=True, failures=0, models=[], pending={}).decode()
        assert 'facet_refused_total{reason="deadline"}' in text
        release.append(True)


def test_a_client_that_left_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    with running(lambda data, work: time.sleep(0.3)) as server:
        server.connect(post(b"x")).close()
        until(lambda: bool(lines(caplog)))
    assert lines(caplog)[0]["status"] == 499
    text = server.state.metrics.text(ready=True, failures=0, models=[], pending={}).decode()
    assert 'facet_requests_total{code="499",endpoint="predict"} 1.0' in text and "facet_refused_total{" not in text
