"""The user's own servers are tried before a run starts anything."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from loopback_server import answering, running

from pipelines.classification import ClassificationConfig
from pipelines.environment.settings import Settings
from pipelines.local.run import check, run
from serving.runtime.errors import StorageError


def refused(server: Callable[..., object], home: Path, expected: str) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError, match=expected):
        server(ClassificationConfig(), Settings.from_environment({"FACET_HOME": str(home)}), echo=lambda _: None)
    assert time.monotonic() - began < 5
    assert not home.exists(), "no server and no run was started"


@pytest.mark.parametrize("command", [run, check])
def test_mlflow(tmp_path: Path, no_aws: None, monkeypatch: pytest.MonkeyPatch, command: Callable[..., object]) -> None:
    with answering(401) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://kim:sesame@{address}")
        refused(command, tmp_path / "home", rf"http://{address} refuses the credentials \(401\)")
    refused(command, tmp_path / "home", rf"the MLflow server at http://{address} cannot be reached")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.invalid")
    refused(command, tmp_path / "home", r"the MLflow server at http://mlflow\.invalid cannot be reached")


@pytest.mark.parametrize("command", [run, check])
def test_s3(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch, command: Callable[..., object]) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0" * 40)
    refused(command, tmp_path / "home", "refuses the credentials .*AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused(command, tmp_path / "home", r"http://127\.0\.0\.1:9 cannot be reached")


def test_an_s3_that_stops_answering_ends_within_patience(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "2")
    released = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            released.wait(30)

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Silent)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        try:
            refused(run, tmp_path / "home", rf"http://{address} does not answer in time")
        finally:
            released.set()
    messages = [record.message for record in caplog.records]
    assert messages == [f"S3 at http://{address} does not answer, waiting up to 2 s"]
