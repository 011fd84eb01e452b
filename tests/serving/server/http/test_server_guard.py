"""Who is answered over HTTP, and the headers of every answer."""

import hashlib
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from server_requests import expect_error, picture
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.server.http.app import create_app
from serving.server.http.guard import is_admin, is_open
from serving.server.keys import Keys
from serving.server.limits import Limits
from serving.server.state import ModelRepository, ServerState

LOAD = "/v2/repository/models/tiny/load"


def client(predictor: Predictor, keys: Keys, **state: Any) -> TestClient:
    made = ServerState(limits=Limits(max_body=2**20), models=ModelRepository(predictor), keys=keys, **state)
    return TestClient(create_app(made), raise_server_exceptions=False)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("user", "root")}
    (tmp_path / "keys").write_text(f"camera:{digests['user']}\nops:admin:{digests['root']}\n")
    return Keys(tmp_path / "keys")


def test_predictions_need_a_key_of_the_file(predictor: Predictor, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    guarded = client(predictor, keys)
    for headers in ({}, {"X-API-Key": "hunter2"}, {"Authorization": "Bearer hunter2"}, {"Authorization": "Basic user"}):
        response = guarded.post("/predict", content=picture(), headers=headers)
        expect_error(response, 401, "X-API-Key")
        assert response.headers["www-authenticate"] == "Bearer"
    for headers in ({"X-API-Key": "user"}, {"Authorization": "Bearer root"}):
        assert guarded.post("/predict", content=picture(), headers=headers).status_code == 200
    assert "hunter2" not in caplog.text and "Bearer user" not in caplog.text
    assert 'facet_refused_total{reason="unauthorized"} 4.0' in guarded.get("/metrics").text


def test_loading_needs_an_admin_key(predictor: Predictor, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    guarded = client(predictor, keys)
    assert guarded.post(LOAD).status_code == 401
    expect_error(guarded.post(LOAD, headers={"X-API-Key": "user"}), 403, "'camera' may not load")
    assert "camera" in caplog.text and "user" not in caplog.text
    assert guarded.post(LOAD, headers={"X-API-Key": "root"}).status_code not in (401, 403)


def test_every_route_but_the_open_ones_needs_a_key(predictor: Predictor, keys: Keys) -> None:
    """Which are open is written down here once more, so that a new route is guarded unless somebody decides."""
    guarded = client(predictor, keys)
    open_routes = {
        "/", "/docs", "/openapi.json", "/static/{file}", "/metrics", "/ping", "/health", "/v2/health/live",
        "/v2/health/ready", "/v2/models/{model}/ready", "/v2/models/{model}/versions/{version}/ready",
    }  # fmt: skip
    routes = [route for route in create_app(ServerState()).routes if isinstance(route, Route)]
    for route in routes:
        path = route.path.replace("{model}", "tiny").replace("{version}", "3")
        for method in route.methods or ():
            status = guarded.request(method, path).status_code
            assert (status == 401) is (route.path not in open_routes or method not in ("GET", "HEAD")), (method, path)
    assert len(routes) > 5


@pytest.mark.parametrize(
    ("method", "path", "is_free", "administers"),
    [
        ("POST", "/v2/repository/index", False, False),
        ("POST", LOAD, False, True),
        ("POST", "/v2/repository/models/tiny/unload", False, True),
        ("DELETE", "/v2/repository/models/x", False, True),
        ("POST", "/v2/models/tiny/infer", False, False),
        ("POST", "/v2/models/tiny/ready", False, False),
        ("GET", "/v2/models/tiny/ready", True, False),
        ("GET", "/v2/models/tiny", False, False),
        ("GET", "/v2/models/tiny/versions/3/ready", True, False),
        ("GET", "/v2/models/ready", False, False),
        ("GET", "/v2/models/tiny/versions/ready", False, False),
        ("GET", "/v2/models/ready/ready", True, False),
        ("GET", "/v2/models/tiny/config/ready", False, False),
        ("POST", "/", False, False),
        ("GET", "/static/main.js", True, False),
    ],
)
def test_paths(method: str, path: str, is_free: bool, administers: bool) -> None:
    assert is_open(method, path) is is_free and is_admin(path) is administers


def test_a_model_called_ready_is_described_with_a_key_only(model_file: Path, keys: Keys) -> None:
    guarded = client(open_model(model_file.read_bytes(), name="ready", version="ready", threads=1), keys)
    for path in ("/v2/models/ready", "/v2/models/ready/versions/ready"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, headers={"X-API-Key": "user"}).json()["name"] == "ready"
    assert guarded.get("/v2/models/ready/ready").json() == {"name": "ready", "ready": True}


def test_without_a_key_nobody_learns_why_something_is_not_ready(predictor: Predictor, keys: Keys) -> None:
    guarded = client(predictor, keys)
    guarded.app.state.server.lanes = SimpleNamespace(blocked=True, pending=lambda: {})  # type: ignore[attr-defined]
    untold = "not ready; with an API key the answer says why"
    told = {
        "/v2/health/ready": "every lane still computes",
        "/ping": "every lane still computes",
        "/health": "every lane still computes",
        "/v2/models/tiny/ready": "every lane still computes",
        "/v2/models/nope/ready": "this server has 'tiny'",
        "/v2/models/tiny/versions/8/ready": "it has '3'",
    }
    for path, reason in told.items():
        response = guarded.get(path)
        assert response.status_code == 503 and response.json()["error"] == untold
        assert guarded.get(path, headers={"X-API-Key": "hunter2"}).json() == response.json()
        for asking, headers in ((guarded, {"X-API-Key": "user"}), (client(predictor, Keys()), {})):
            asking.app.state.server.lanes = guarded.app.state.server.lanes  # type: ignore[attr-defined]
            assert reason in asking.get(path, headers=headers).json()["error"]


def test_without_keys_pages_and_proxies_cannot_load_models(predictor: Predictor) -> None:
    local, public = client(predictor, Keys()), client(predictor, Keys(loopback=False))
    assert local.post(LOAD).status_code != 403
    for name in ("Origin", "Forwarded", "X-Forwarded-For", "Via"):
        expect_error(local.post(LOAD, headers={name: "http://evil.example"}), 403, "--api-keys")
        assert local.post("/predict", content=picture(), headers={name: "x"}).status_code == 200
    expect_error(public.post(LOAD), 403, "--api-keys")
    assert public.post("/predict", content=picture()).status_code == 200


def test_a_refused_request_is_not_read(predictor: Predictor, keys: Keys) -> None:
    """A body above the limit is refused for its key, not for its size."""
    assert client(predictor, keys).post("/predict", content=bytes(2**21)).status_code == 401


def test_answers_have_the_headers_that_browsers_heed(predictor: Predictor, keys: Keys) -> None:
    for response in (
        client(predictor, Keys()).get("/v2"),
        client(predictor, Keys()).get("/nothing"),
        client(predictor, keys).post("/predict"),
        client(predictor, keys).get("/v2/health/live"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers.get_list("content-security-policy")[1:] == []


def test_pages_of_other_origins_ask_only_where_they_are_named(predictor: Predictor, keys: Keys) -> None:
    asked = {"Origin": "https://door.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "x-api-key"
    closed = client(predictor, keys)
    assert "access-control-allow-origin" not in closed.options("/predict", headers=asked).headers
    opened = client(predictor, keys, cors_origins=("https://door.example",))
    preflight = opened.options("/predict", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://door.example"
    other = opened.options("/predict", headers=asked | {"Origin": "https://door.example.evil"})
    assert other.status_code == 400 and "access-control-allow-origin" not in other.headers
    headers = {"Origin": "https://door.example", "X-API-Key": "user"}
    answer = opened.post("/predict", content=picture(), headers=headers)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://door.example"
    assert "access-control-allow-credentials" not in answer.headers
    assert opened.post("/predict", headers={"Origin": "https://door.example"}).status_code == 401


def test_attempts_are_logged_with_a_name_or_a_fingerprint(
    predictor: Predictor, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        client(predictor, keys).post("/predict", headers={"X-API-Key": "hunter2"})
        client(predictor, keys).post(LOAD, headers={"X-API-Key": "user"})
    refused = [record for record in caplog.records if record.name == "serving.server.keys"]
    unknown, known = refused
    assert unknown.msg != known.msg, "of each kind one is written a minute"
    assert hashlib.sha256(b"hunter2").hexdigest()[:8] in unknown.getMessage() and "'camera'" in known.getMessage()
