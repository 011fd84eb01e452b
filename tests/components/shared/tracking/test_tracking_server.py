"""MLflow servers that refuse, stall, die or belong to somebody else."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from loopback_server import answering, running

from components.shared.tracking.killed import PROCESS
from components.shared.tracking.runs import KFP_RUN, PARENT, check_tracking, open_run, resume_run
from components.shared.tracking.server import mlflow_client, tracking_is_on
from serving.runtime.errors import NoAnswerError, StorageError

OPEN = """
import os, sys, time
from components.shared.tracking.runs import open_run
with open_run("killed") as run:
    os.write(1, (run.run_id + "\\n").encode())
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "2")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://kim:sesame@{address}")
        yield address


@pytest.mark.parametrize("listens", [True, False])
def test_a_step_goes_on_without_a_server_that_does_not_answer(
    silent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, listens: bool
) -> None:
    if not listens:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://kim:sesame@127.0.0.1:9")
        silent = "127.0.0.1:9"
    with at_most(6):
        with open_run("e", tolerant=True) as run:
            run.metrics({"x": 1.0})
        assert run.run_id == ""
    messages = [record.message for record in caplog.records]
    assert messages[0] == f"MLflow at http://{silent} does not answer, waiting up to 2 s"
    assert "The step continues without it" in messages[1] and len(messages) == 2
    assert "sesame" not in caplog.text
    with (
        at_most(5),
        pytest.raises(NoAnswerError, match=rf"MLflow at http://{silent} did not answer within 2 s") as caught,
    ):
        resume_run("abc")
    assert "sesame" not in str(caught.value)
    assert resume_run("abc", tolerant=True).run_id == ""


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b"who are you", "refuses the credentials"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "refuses the credentials"),
        (200, b"<html>a login page</html>", "is not an MLflow server"),
        (404, b"<html>nothing</html>", "answered 404"),
    ],
)
def test_a_wrong_address_or_password_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, expected: str
) -> None:
    with answering(status, body) as address, at_most(1):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
        with pytest.raises(StorageError, match=expected) as caught:
            check_tracking("e")
    assert address in str(caught.value) and not isinstance(caught.value, NoAnswerError)


def test_a_misspelled_host_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.invalid:5000")
    for call in (lambda: check_tracking("e"), lambda: open_run("e", tolerant=True).__enter__()):
        with pytest.raises(StorageError, match="cannot be") as caught:
            call()
        assert not isinstance(caught.value, NoAnswerError)


def test_a_server_that_is_down_is_left_to_the_run(silent: str) -> None:
    check_tracking("e")


def test_the_experiment_is_there_before_the_work(tracking: str) -> None:
    check_tracking("made before")
    assert mlflow_client().get_experiment_by_name("made before") is not None


@pytest.mark.parametrize("part", [True, False])
def test_in_a_pod_of_kubeflow_every_training_has_a_run_of_its_own(
    tracking: str, monkeypatch: pytest.MonkeyPatch, part: bool
) -> None:
    client = mlflow_client()
    plugin = client.create_run("0").info.run_id
    monkeypatch.setenv("KFP_POD_NAME", "a-pod")
    monkeypatch.setenv("MLFLOW_RUN_ID", plugin)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    found = []
    for fold in range(2):
        with open_run("in kubeflow", run_name=f"fold {fold}", part=part, params={"fold": fold}) as run:
            run.metrics({"Val/loss": fold}, step=1)
        found.append(client.get_run(run.run_id))
    assert len({run.info.run_id for run in found} | {plugin}) == 3
    assert [(run.info.status, run.data.params["fold"]) for run in found] == [("FINISHED", "0"), ("FINISHED", "1")]
    assert all(run.data.tags[KFP_RUN] == plugin and PARENT not in run.data.tags for run in found)
    untouched = client.get_run(plugin)
    assert (untouched.info.status, untouched.data.metrics, untouched.data.params) == ("RUNNING", {}, {})
    experiment = client.get_experiment_by_name("in kubeflow")
    assert experiment is not None and {run.info.experiment_id for run in found} == {experiment.experiment_id}


def test_a_run_of_the_plugin_on_another_server_is_no_error(tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "a-pod")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with open_run("in kubeflow") as run:
        pass
    assert KFP_RUN not in mlflow_client().get_run(run.run_id).data.tags


@pytest.mark.parametrize("plugin", ["http://theirs:5000", "http://ours:5000/", ""])
def test_the_server_of_our_secret_wins(monkeypatch: pytest.MonkeyPatch, plugin: str) -> None:
    theirs = {"MLFLOW_TRACKING_AUTH": "kubernetes", "MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "them"}
    for name, value in (theirs | {"MLFLOW_TRACKING_URI": plugin, "MLFLOW_TRACKING_PASSWORD": "theirs"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FACET_MLFLOW_TRACKING_URI", "http://ours:5000")
    monkeypatch.setenv("FACET_MLFLOW_TRACKING_PASSWORD", "ours")
    for _ in range(2):
        assert tracking_is_on()
        facts = {name: os.environ.get(name) for name in (*theirs, "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD")}
        kept = theirs if "ours" in plugin else dict.fromkeys(theirs)
        assert facts == {**kept, "MLFLOW_TRACKING_URI": "http://ours:5000", "MLFLOW_TRACKING_PASSWORD": "ours"}


def test_without_our_secret_the_plugin_s_server_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    assert tracking_is_on() and os.environ["MLFLOW_TRACKING_TOKEN"] == "t"


def test_the_next_run_marks_those_that_were_killed_and_no_other(tracking: str) -> None:
    client = mlflow_client()
    programs = [subprocess.Popen([sys.executable, "-c", OPEN], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    killed, alive = (program.stdout.readline().strip() for program in programs if program.stdout)
    programs[0].kill()
    programs[0].wait()
    tag = client.get_run(killed).data.tags[PROCESS]
    boot, namespace, process, start = tag.split(":")
    others = {
        "another machine": f"{'0' * 36}:{namespace}:{process}:{start}",
        "another container": f"{boot}:1:{process}:{start}",
        "somebody else": "",
    }
    kept = [client.create_run("0", tags={PROCESS: value} if value else {}).info.run_id for value in others.values()]
    reused = client.create_run("0", tags={PROCESS: f"{boot}:{namespace}:{os.getpid()}:1"}).info.run_id
    with open_run("the next") as run:
        assert client.get_run(run.run_id).info.status == "RUNNING"
    assert [client.get_run(one).info.status for one in (killed, reused)] == ["KILLED", "KILLED"]
    assert {client.get_run(one).info.status for one in (alive, *kept)} == {"RUNNING"}
    for program in programs[1:]:
        program.kill()
        program.wait()


def test_a_killed_run_that_is_continued_is_alive_again(tracking: str) -> None:
    with subprocess.Popen([sys.executable, "-c", OPEN], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        killed = program.stdout.readline().strip()
        program.kill()
    client = mlflow_client()
    with open_run("killed", run_id=killed) as run:
        assert run.run_id == killed
        with open_run("another"):
            assert client.get_run(killed).info.status == "RUNNING"
    assert client.get_run(killed).info.status == "FINISHED"


def test_uploads_of_mlflow_are_plain_ones(
    tracking: str, s3: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Checksums behind a body of unknown length are what many S3-compatible servers refuse."""
    heads: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            heads.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_bytes(b"x" * 1000)
    client = mlflow_client()
    if client.get_experiment_by_name("plain uploads") is None:
        client.create_experiment("plain uploads", artifact_location="s3://mlflow/plain")
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://{address}")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        with open_run("plain uploads") as run:
            run.artifact(tmp_path / "file")
    (head,) = heads
    assert head["content-length"] == "1000"
    assert not [name for name in head if name.startswith(("x-amz-checksum", "x-amz-trailer", "x-amz-sdk-checksum"))]
