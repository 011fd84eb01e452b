"""What the tests share: a real S3 server, a real MLflow server, and a tiny model file."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_model import build_model

import serving.runtime  # noqa: F401  before any import of onnxruntime, see there


def pytest_configure() -> None:
    """Ctrl-C works here and in what is started from here: a shell that starts us in the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class S3Server:
    """A running S3 server; every folder in `folder` is a bucket."""

    folder: Path
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(probe: Callable[[], None], server: subprocess.Popen[bytes], log: Path) -> None:
    """Try `probe` until it raises no OSError; RuntimeError with the server's log when it dies or takes ten minutes."""
    deadline = time.monotonic() + 600
    while True:
        try:
            return probe()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {log.read_text()}") from None
            time.sleep(0.05)


@contextmanager
def run_s3(work: Path, *options: str) -> Iterator[S3Server]:
    """Run rclone's S3 server on `work`/data; its keys live in this process and in the server's environment only.

    `options` are more of rclone's, such as --read-only.
    """
    folder = work / "data"
    folder.mkdir(parents=True)
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    port = free_port()
    log = work / "rclone.log"
    with log.open("wb") as log_file:
        server = subprocess.Popen(
            [
                Path(sys.executable).with_name("rclone"),
                "serve", "s3", folder,
                "--addr", f"127.0.0.1:{port}",
                "--config", work / "rclone.conf",
                "--vfs-write-back", "0s",
                *options,
            ],
            env=os.environ | {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'},
            stdout=log_file,
            stderr=log_file,
        )  # fmt: skip
    try:
        wait_until(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), server, log)
        yield S3Server(
            folder,
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": access_key,
                "AWS_SECRET_ACCESS_KEY": secret_key,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
    finally:
        server.terminate()
        server.wait()


@contextmanager
def run_mlflow(work: Path) -> Iterator[str]:
    """Run an MLflow server on SQLite that keeps artifacts in `work`; gives its URL once it answers."""
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = work / "mlflow.log"
    with log.open("wb") as log_file:
        server = subprocess.Popen(
            [
                Path(sys.executable).with_name("mlflow"), "server",
                "--host", "127.0.0.1",
                "--port", str(port),
                "--backend-store-uri", f"sqlite:///{work}/mlflow.db",
                "--artifacts-destination", work / "artifacts",
                "--workers", "1",
            ],
            env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
            | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
            cwd=work,
        )  # fmt: skip
    try:
        wait_until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close(), server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        # Its workers are processes of their own; they all belong to its session.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="session")
def start_s3() -> Callable[..., AbstractContextManager[S3Server]]:
    """For a test that needs a server with options of its own."""
    return run_s3


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with run_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide whatever credentials this machine has."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3(s3_server: S3Server, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with this test's environment pointing at it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def make_model() -> Callable[..., bytes]:
    return build_model


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.onnx"
    file.write_bytes(build_model())
    return file
