"""Models out of a real MLflow server: served by the server itself, from S3, and as MLflow 3 logs them."""

import contextlib
import hashlib
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from mlflow_registry import MlflowServer

from serving.runtime import mlflow_server
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.load import load_model
from serving.runtime.registry import fetch_model, version_uri
from serving.runtime.storage import make_bucket, upload


def test_artifacts_that_mlflow_proxies(mlflow: MlflowServer, model_file: Path) -> None:
    content = model_file.read_bytes()
    version = mlflow.register_run("faces", {"model.onnx": content, "MLmodel": b"flavors: {}"})
    mlflow.call("POST", "/mlflow/registered-models/alias", {"name": "faces", "alias": "champion", "version": version})
    for uri in ("models:/faces@champion", f"models:/faces/{version}"):
        model = load_model(uri)
        assert (model.name, model.version) == ("faces", version)
        assert model.sha256 == hashlib.sha256(content).hexdigest()
        assert version_uri(uri) == f"models:/faces/{version}"
    assert load_model("models:/faces@champion", name="other").name == "other"
    assert version_uri("folder/model.onnx") == "folder/model.onnx"


def test_artifacts_in_s3(mlflow: MlflowServer, s3: Any, model_file: Path) -> None:
    make_bucket("mlflow")
    upload(model_file, "s3://mlflow/1/models/x/model.onnx")
    version = mlflow.register("in s3", "s3://mlflow/1/models/x")
    assert fetch_model(f"models:/in s3/{version}").content == model_file.read_bytes()
    assert fetch_model(f"models:/in%20s3/{version}").name == "in s3"


def test_a_version_that_mlflow_3_logged(mlflow: MlflowServer, model_file: Path) -> None:
    """Its source is `models:/m-...`; the registry knows where that is."""
    logged = mlflow.call("POST", "/mlflow/logged-models", {"experiment_id": "0", "name": "model"})["model"]["info"]
    mlflow.put(logged["artifact_uri"], "model.onnx", model_file.read_bytes())
    version = mlflow.register("logged", f"models:/{logged['model_id']}", model_id=logged["model_id"])
    assert fetch_model(f"models:/logged/{version}").content == model_file.read_bytes()


def test_a_version_without_a_model(mlflow: MlflowServer) -> None:
    version = mlflow.register_run("empty", {"readme.txt": b"x"})
    with pytest.raises(StorageError, match=r"expected model\.onnx or one other \.onnx file, found readme\.txt"):
        fetch_model(f"models:/empty/{version}")


def test_unknown_names_versions_and_aliases(mlflow: MlflowServer) -> None:
    for _ in range(2):
        latest = mlflow.register("known", "s3://bucket/known")
    for alias in ("best", "other"):
        mlflow.call("POST", "/mlflow/registered-models/alias", {"name": "known", "alias": alias, "version": latest})
    with pytest.raises(NotFoundError, match="no registered model 'nothing'"):
        fetch_model("models:/nothing@champion")
    with pytest.raises(NotFoundError, match="no registered model 'nothing'"):
        fetch_model("models:/nothing/1")
    with pytest.raises(NotFoundError, match=r"no alias 'champion' in .*; its aliases: best, other"):
        fetch_model("models:/known@champion")
    with pytest.raises(NotFoundError, match=rf"no version 99 in .*; its latest: {latest}"):
        fetch_model("models:/known/99")


def test_the_latest_version_and_stages(mlflow: MlflowServer) -> None:
    """`latest` is the highest version, whatever its stage; a stage is that of servers from before the aliases."""
    versions = [mlflow.register_run("staged", {"model.onnx": b"%d" % number}) for number in range(11)]
    for version, stage in ((versions[1], "Production"), (versions[4], "Production"), (versions[6], "Staging")):
        mlflow.call(
            "POST", "/mlflow/model-versions/transition-stage", {"name": "staged", "version": version, "stage": stage}
        )
    expected = {"latest": 10, "Latest": 10, "Production": 4, "production": 4, "Staging": 6, "None": 10}
    for stage, number in expected.items():
        fetched = fetch_model(f"models:/staged/{stage}")
        assert (fetched.content, fetched.version) == (b"%d" % number, versions[number]), stage
    mlflow.call(
        "POST",
        "/mlflow/model-versions/transition-stage",
        {"name": "staged", "version": versions[10], "stage": "Production"},
    )
    assert fetch_model("models:/staged/latest").version == versions[10]
    with pytest.raises(NotFoundError, match=r"no version in stage 'champion' .* written models:/staged@champion"):
        fetch_model("models:/staged/champion")
    with pytest.raises(NotFoundError, match="no registered model 'nothing'"):
        fetch_model("models:/nothing/latest")
    mlflow.call("POST", "/mlflow/registered-models/create", {"name": "without versions"})
    with pytest.raises(NotFoundError, match="its stages: none"):
        fetch_model("models:/without versions/latest")


# --- servers that are not as they should be ------------------------------------------------------------------------


def test_server_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9/mlflow")
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:9/mlflow cannot be reached.*refused") as caught:
        fetch_model("models:/a@b")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", [None, "", "sqlite:///mlflow.db", "/tmp/mlruns", "databricks"])
def test_no_server_is_named(monkeypatch: pytest.MonkeyPatch, uri: str | None) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if uri is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match="set MLFLOW_TRACKING_URI"):
        fetch_model("models:/a@b")


class Fake:
    """A server that answers everything alike, and keeps what it was asked."""

    def __init__(self, status: int, body: bytes, delay: float = 0) -> None:
        self.headers: list[dict[str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.headers.append(dict(self.headers))
                time.sleep(delay)
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> "Fake":
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"<html>a login page</html>", "not an MLflow server"),
        (200, b"[]", "not an MLflow server"),
        (200, b"{}", "not an MLflow server"),
        (401, b"", "refuses the credentials"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "refuses the credentials"),
        (500, b"oops", "answered 500"),
        (502, b'{"error_code": "X", "message": "why"}', "answered 502: why"),
    ],
)
def test_invalid_answers(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, expected: str) -> None:
    with Fake(status, body) as fake:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{fake.server.server_port}")
        for uri in ("models:/a@b", "models:/a/1"):
            with pytest.raises(StorageError, match=expected):
                fetch_model(uri)


def test_a_server_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_server, "TIMEOUT_S", 0.1)
    with Fake(200, b"{}", delay=0.5) as fake:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{fake.server.server_port}")
        with pytest.raises(StorageError, match=r"cannot be reached.*timed out"):
            fetch_model("models:/a@b")


@pytest.mark.parametrize(
    ("variables", "userinfo", "expected"),
    [
        ({}, "", None),
        ({"USERNAME": "me", "PASSWORD": "pw"}, "", "Basic bWU6cHc="),
        ({"TOKEN": "t0k"}, "", "Bearer t0k"),
        ({"USERNAME": "me", "PASSWORD": "pw", "TOKEN": "t0k"}, "", "Basic bWU6cHc="),
        ({}, "me:p%77@", "Basic bWU6cHc="),
    ],
)
def test_credentials(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], userinfo: str, expected: str | None
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with Fake(500, b"") as fake:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{userinfo}127.0.0.1:{fake.server.server_port}/")
        with pytest.raises(StorageError) as caught:
            fetch_model("models:/a@b")
    assert [headers.get("Authorization") for headers in fake.headers] == [expected]
    assert "pw" not in str(caught.value) and "t0k" not in str(caught.value)
