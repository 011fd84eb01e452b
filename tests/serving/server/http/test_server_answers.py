"""The application in process: health, metadata, paths, and that nothing whatever is answered with a crash."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_requests import LIMIT, expect_error, picture
from starlette.testclient import TestClient
from stub_server import until

from serving.runtime.predictor import Classifier
from serving.runtime.session import Session
from serving.server.http.app import create_app
from serving.server.limits import Limits
from serving.server.repository.models import ModelRepository
from serving.server.repository.source import SingleModel
from serving.server.state import ServerState

# --- health and metadata -------------------------------------------------------------------------------------------


def test_health_and_metadata(client: TestClient) -> None:
    assert client.get("/v2").json()["name"] == "facet"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models").json() == {"models": ["tiny"]}
    described = client.get("/v2/models/tiny").json()
    assert described == client.get("/v2/models/tiny/versions/3").json()
    assert described["versions"] == ["3"]
    assert described["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 40, 32, 3]}]
    assert [(o["name"], o["datatype"], o["shape"], o["labels"]) for o in described["outputs"]] == [
        ("mask", "FP32", [-1, 3], ["worn", "incorrect", "absent"]),
        ("gender", "FP32", [-1, 2], ["male", "female"]),
    ]
    assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    assert client.get("/v2/models/tiny/versions/3/ready").status_code == 200
    assert client.head("/v2/health/live").status_code == 200


def test_readiness_while_loading_serving_and_stopping(model_file: Path) -> None:
    state = ServerState(limits=Limits(max_body=LIMIT), models=ModelRepository(sources=[SingleModel(str(model_file))]))
    client = TestClient(create_app(state))
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny"):
        response = client.get(path)
        assert response.status_code == 503 and "loading" in response.json()["error"]
    expect_error(client.post("/predict", content=picture()), 503, "loading")
    state.models.begin()
    until(lambda: not state.models.loading)
    assert client.get("/v2/health/ready").status_code == 200
    state.draining = True
    for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
        assert client.get(path).status_code == 503
    assert client.get("/v2/health/live").status_code == 200
    assert client.post("/predict", content=picture()).status_code == 200


# --- paths and methods ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/tiny/versions/4", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/tiny/versions/4/infer", 404),
        ("GET", "/v2/models/../../etc/passwd", 404),
        ("GET", "/v2/models/%00", 404),
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("BREW", "/predict", 405),
        ("POST", "/v2/health/ready", 405),
        ("DELETE", "/v2/models/tiny", 405),
        ("GET", "/v2/models/tiny/infer", 405),
    ],
)
def test_unknown_paths_and_wrong_methods(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    expect_error(response, status)
    if status == 405:
        allowed = response.headers["allow"].split(", ")
        assert method not in allowed and set(allowed) <= {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("path", ["/v2", "/v2/models", "/v2/models/tiny", "/v2/health/live", "/v1/models", "/docs"])
def test_a_slash_at_the_end_changes_nothing(client: TestClient, path: str) -> None:
    """A redirect, which other servers send, loses the body of a POST with some clients."""
    response = client.get(f"{path}/", follow_redirects=False)
    assert response.status_code == 200 and response.content == client.get(path).content
    assert client.post("/predict/", content=picture(), follow_redirects=False).status_code == 200


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/predict", {"POST"}), ("/v2/models/tiny", {"GET", "HEAD"}), ("/v1/models/tiny:predict", {"POST"})],
)
def test_options_tells_the_methods_and_permits_no_other_page(client: TestClient, path: str, methods: set[str]) -> None:
    headers = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"}
    response = client.options(path, headers=headers)
    assert response.status_code == 204 and set(response.headers["allow"].split(", ")) == methods
    assert not any(name.startswith("access-control") for name in response.headers)


def test_head_has_no_body(client: TestClient) -> None:
    for path in ("/v2", "/v2/models/tiny", "/docs", "/openapi.json", "/metrics", "/ping"):
        response = client.head(path)
        assert (response.status_code, response.content) == (200, b""), path


# --- whatever comes, no 5xx ----------------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.just("images"), JSON),
        "datatype": st.one_of(st.sampled_from(["UINT8", "BYTES", "FP32", "BOOL"]), JSON),
        "shape": st.one_of(st.lists(st.integers(-2, 41), max_size=5), st.just([1, 40, 32, 3]), JSON),
        "data": st.one_of(
            st.lists(st.one_of(st.integers(-1, 256), st.text(max_size=8)), max_size=6),
            st.just([0] * 3840),
            st.binary(max_size=20).map(lambda data: [base64.b64encode(data).decode()]),
            JSON,
        ),
        "parameters": JSON,
    },
)
REQUEST = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"inputs": st.one_of(st.lists(TENSOR, max_size=2), JSON)}, optional={"id": JSON, "outputs": JSON}
    ),
)
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check_no_crash(response: Any) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert list(response.json()) == ["error"] and response.json()["error"]


@FUZZ
@given(body=REQUEST)
def test_any_json_on_infer(client: TestClient, body: Any) -> None:
    check_no_crash(client.post("/v2/models/tiny/infer", content=json.dumps(body).encode()))


@FUZZ
@given(
    body=st.binary(max_size=200), path=st.sampled_from(["/predict", "/v2/models/tiny/infer"]), box=st.text(max_size=12)
)
def test_any_body(client: TestClient, body: bytes, path: str, box: str) -> None:
    check_no_crash(client.post(path, content=body, params={"box": box.encode("utf-8", "replace").decode()}))


TOKEN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@FUZZ
@given(body=st.binary(max_size=200), rest=TOKEN, name=TOKEN, with_frame=st.booleans())
def test_any_form(client: TestClient, body: bytes, rest: str, name: str, with_frame: bool) -> None:
    kind = f"multipart/form-data; boundary=b{rest}"
    if with_frame:
        kind = "multipart/form-data; boundary=b"
        body = b"--b\r\nContent-Disposition: form-data; " + name.encode() + b"\r\n\r\n" + body + b"\r\n--b--\r\n"
    check_no_crash(client.post("/predict", content=body, headers={"content-type": kind}))


@FUZZ
@given(path=st.lists(st.sampled_from(["v2", "models", "tiny", "versions", "3", "infer", "ready", "..", "%2f", "x"])))
def test_any_path(client: TestClient, path: list[str]) -> None:
    for method in ("GET", "POST"):
        check_no_crash(client.request(method, "/" + "/".join(path)))


def test_a_crash_is_a_500_with_an_error(make_model: Callable[..., bytes]) -> None:
    """The fuzz tests above can fail: a fault of the server is seen as one."""

    class Broken(Classifier):
        def predict(self, images: Any, *, work: Any = None) -> Any:
            raise RuntimeError("secret detail")

    state = ServerState(
        limits=Limits(max_body=LIMIT), models=ModelRepository(Broken(Session(make_model()), name="tiny", version="3"))
    )
    client = TestClient(create_app(state), raise_server_exceptions=False)
    response = client.post("/predict", content=picture())
    expect_error(response, 500, "internal error")
    assert "secret" not in response.text
