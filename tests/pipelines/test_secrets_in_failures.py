"""Secrets that are planted in the environment are in no message of a command that fails, whatever fails and how."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import pytest
from clean_environment import OWN
from command_line import facet
from loopback_server import running

from components.shared.tracking.runs import open_run
from serving.runtime import s3
from serving.runtime.registry import fetch_model
from serving.runtime.storage import Location

PLANTED = {
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "MLFLOW_TRACKING_TOKEN": "planted-mlflow-token",
    "AWS_ACCESS_KEY_ID": "plantedaccesskey",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "KFP_TOKEN": "planted-kfp-token",
    "KFP_COOKIES": "session=planted-cookie",
}
USER = "user:planted%2Fp%40ssword@"
WORDS = ("planted", "p%40ssword", "p@ssword")


class _Refusal(BaseHTTPRequestHandler):
    """Answers everything with a status, and may repeat what it was sent, as a debugging proxy does."""

    status = 401
    repeats = True

    def handle_any(self) -> None:
        body = json.dumps(
            {"error_code": "X", "message": self.headers["Authorization"] if self.repeats else ""}
        ).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _server(fault: str, *, repeats: bool = True) -> Iterator[str]:
    """The address, without a scheme, of a server with that fault."""
    if fault == "unknown name":
        yield "nowhere.invalid:5000"
    elif fault == "silent":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
    elif fault == "down":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        yield f"127.0.0.1:{port}"
    else:
        kind = type("Handler", (_Refusal,), {"status": int(fault) if fault.isdigit() else 200, "repeats": repeats})
        with running(ThreadingHTTPServer(("127.0.0.1", 0), kind)) as address:
            yield address


FAULTS = ("down", "unknown name", "401", "403", "500", "no TLS", "silent")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith(OWN)]:
        monkeypatch.delenv(name)
    for name, value in {
        **PLANTED,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
        "FACET_PATIENCE_SECONDS": "1",
        "FACET_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr("serving.runtime.mlflow_server.TIMEOUT_S", 0.5)
    monkeypatch.setattr("pipelines.cluster.connect.TIMEOUT_SECONDS", (0.5, 0.5))
    return monkeypatch


def _shows_nothing(said: str) -> None:
    assert [word for word in WORDS if word in said] == [], said


@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_mlflow(
    planted: pytest.MonkeyPatch,
    fault: str,
    token: bool,
    model_file: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = ("--model", model_file, "--predictions", model_file, "--images", model_file, "--annotations", model_file,
            "--report", tmp_path / "page.html")  # fmt: skip
    scheme = "https" if fault == "no TLS" else "http"
    if not token:
        planted.delenv("MLFLOW_TRACKING_TOKEN")
        planted.delenv("MLFLOW_TRACKING_PASSWORD")
    with _server(fault) as server:
        for command in (
            ("promote", *kept, "--name", "faces", "--version", "1"),
            ("register", "--model", model_file, "--name", "faces", "--metrics-json", "{}"),
        ):
            failed = facet("step", *command, tracking_uri=f"{scheme}://{USER}{server}")
            assert failed.returncode in (1, 2)
            assert "Traceback" not in failed.stderr
            _shows_nothing(failed.stdout + failed.stderr + caplog.text)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_s3(planted: pytest.MonkeyPatch, fault: str, tmp_path: Path) -> None:
    scheme = "https" if fault == "no TLS" else "http"
    with _server(fault) as server:
        planted.setenv("AWS_ENDPOINT_URL", f"{scheme}://{USER}{server}")
        for command in (
            (
                "step",
                "ingest",
                "--source",
                "s3://raw/faces",
                "--images",
                tmp_path / "i",
                "--annotations",
                tmp_path / "a",
            ),
            ("check", "--set", "source=s3://raw/faces"),
            ("run", "--set", "source=s3://raw/faces"),
        ):
            failed = facet(*command, tracking_uri=f"{scheme}://{USER}{server}")
            assert failed.returncode in (1, 2)
            assert "Traceback" not in failed.stderr
            _shows_nothing(failed.stdout + failed.stderr)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_cluster(planted: pytest.MonkeyPatch, fault: str) -> None:
    scheme = "https" if fault == "no TLS" else "http"
    with _server(fault) as server:
        for host in (f"{scheme}://{server}", f"{scheme}://{USER}{server}"):
            planted.setenv("KFP_HOST", host)
            for command in (("status",), ("submit", "--set", "source=s3://raw/faces"), ("schedule", "list")):
                failed = facet(*command)
                assert failed.returncode in (1, 2)
                assert "Traceback" not in failed.stderr
                _shows_nothing(failed.stdout + failed.stderr)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_traceback_of_a_step(planted: pytest.MonkeyPatch, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """What Kubeflow Pipelines writes into the log of a step is the whole chain of errors."""
    scheme = "https" if fault == "no TLS" else "http"
    with _server(fault, repeats=False) as server, mock.patch.dict(os.environ):
        for variable in ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"):
            os.environ[variable] = f"{scheme}://{USER}{server}"
        _shows_nothing(_traceback(lambda: fetch_model("models:/faces@champion")))
        _shows_nothing(_traceback(Location("s3://raw/faces").list))
        _shows_nothing(_traceback(_open_run))
        with contextlib.suppress(Exception), open_run("faces", tolerant=True):  # goes on where no server answers
            pass
        _shows_nothing(caplog.text)


def _traceback(action: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:
        action()
    return "".join(traceback.format_exception(caught.value))


def _open_run() -> None:
    with open_run("faces"):
        pass


@pytest.mark.parametrize("fault", ["down", "401"])
@pytest.mark.parametrize("model", ["models:/faces@champion", "s3://raw/model.onnx", "https://user:planted@host/m.onnx"])
def test_a_server_without_its_model(planted: pytest.MonkeyPatch, fault: str, model: str) -> None:
    with _server(fault) as server:
        for variable in ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"):
            planted.setenv(variable, f"http://{USER}{server}")
        command = [sys.executable, "-m", "serving", "--port", "0", "--model", model]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    _shows_nothing(ended.stdout + ended.stderr)


@pytest.mark.parametrize(
    "address",
    [
        "https://user:planted@host/faces.zip",
        "s3://key:planted@raw/faces",
        "https://host/faces.zip?X-Amz-Credential=planted&X-Amz-Signature=planted",
    ],
)
def test_an_address_with_a_secret(planted: pytest.MonkeyPatch, address: str, tmp_path: Path) -> None:
    for command in (
        ("step", "ingest", "--source", address, "--images", tmp_path / "i", "--annotations", tmp_path / "a"),
        ("check", "--set", f"source={address}"),
        ("run", "--set", f"source={address}"),
        ("step", "train-classifier", "--model", address),
    ):
        failed = facet(*command)
        assert failed.returncode == 2
        assert "Traceback" not in failed.stderr
        _shows_nothing(failed.stdout + failed.stderr)


def test_an_error_that_nobody_foresaw(planted: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"http://{USER}host says {PLANTED['KFP_TOKEN']}")

    planted.setattr("pipelines.local.stack.running", fail)
    failed = facet("stack", "status")
    assert failed.returncode == 1
    assert "Traceback" in failed.stderr and "http://host says ***" in failed.stderr
    _shows_nothing(failed.stderr)
