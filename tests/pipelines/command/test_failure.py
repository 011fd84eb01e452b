"""The end of a command that fails: what the operating system refuses, and damaged files of our own."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from clean_environment import clean_environment
from command_line import facet

from pipelines.command.failure import explained
from pipelines.environment.errors import ClusterError, ServerError
from pipelines.local.run_folder import OUTPUTS, outputs
from pipelines.local.stack import keep_up, take_down
from serving.runtime.errors import InputError, NoAnswerError, StorageError


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (InputError("x: wrong"), "facet: x: wrong", 2),
        (InputError("x" * 5000), f"facet: {'x' * 400}...", 2),
        (StorageError("x: gone"), "facet: x: gone", 2),
        (NoAnswerError("x: silent"), "facet: x: silent", 1),
        (ServerError("x: ended"), "facet: x: ended", 1),
        (ClusterError("x: no"), "facet: x: no", 1),
        (MemoryError(), "facet: there is not enough memory; take a smaller input, or a machine with more", 1),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x"),
            "facet: /data/x: No space left on device: free some space on that disk",
            2,
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", ".x.1.partial", None, "x"),
            "facet: x: Is a directory: a folder is where a file is expected; name a file",
            2,
        ),
        (OSError(errno.EIO, "Input/output error", b"/data/x"), "facet: /data/x: Input/output error: check the path", 2),
        (ConnectionResetError(104, "Connection reset by peer"), "facet: [Errno 104] Connection reset by peer", 1),
        (TimeoutError(), "facet: TimeoutError", 1),
    ],
)
def test_one_message_and_a_code(error: Exception, message: str, code: int) -> None:
    assert explained(error) == (message, code)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), RecursionError("x"), AssertionError("x")])
def test_an_error_of_our_own_keeps_its_traceback(error: Exception) -> None:
    message, code = explained(error)
    assert code == 1 and message.startswith(type(error).__name__)


def test_the_variable_of_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACET_HOME", str(tmp_path / "file/home"))
    for command in (("stack", "up"), ("ui",)):
        failed = facet(*command)
        assert failed.returncode == 2
        assert "Not a directory: a part of the path is a file" in failed.stderr
        assert f"(it is in FACET_HOME, {tmp_path}/file/home)" in failed.stderr
    for command in (("stack", "status"), ("stack", "down"), ("runs", "list")):
        assert facet(*command).returncode == 0


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_disk_that_cannot_be_written(tmp_path: Path, kind: str) -> None:
    """In a mount namespace of its own, which ends with the command."""
    (tmp_path / "home").mkdir()
    options = "size=4k" if kind == "full" else "ro,size=1m"
    script = f"mount -t tmpfs -o {options} tmpfs home && exec {sys.executable} -m pipelines.command.main stack up"
    environment = clean_environment() | {"FACET_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path.cwd())}
    shell = ["unshare", "--mount", "sh", "-c", script]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    failed = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in failed.stderr and len(failed.stderr.splitlines()) == 1
    if kind == "full":
        assert failed.returncode in (1, 2)
        assert "free some space" in failed.stderr
    else:
        assert failed.returncode == 2
        assert "Read-only file system: name a place that can be written (it is in FACET_HOME, " in failed.stderr


def test_folders_and_names_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before any server starts."""
    monkeypatch.setenv("FACET_HOME", str(tmp_path / "home"))
    for name in ("x" * 300, "a/b", "기쁨", "-x", "x\n"):
        failed = facet("run", "--name=" + name)
        assert failed.returncode == 2
        assert "use letters, digits, '.', '_' and '-', a letter or digit first, 100 at most" in failed.stderr
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SM_MODEL_DIR", str(tmp_path / "file"))
    failed = facet("run")
    assert failed.returncode == 2
    assert failed.stderr.endswith(
        "file: is a file, and the folders of runs are made there; set SM_MODEL_DIR to a folder\n"
    )
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '"x"',
        "null",
        '{"AWS_ACCESS_KEY_ID": 5}',
        '{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}',
    ],
)
def test_damaged_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("FACET_HOME", str(tmp_path))
    (tmp_path / "s3-keys.json").write_text(content)
    failed = facet("stack", "up")
    assert failed.returncode == 2
    assert failed.stderr == (
        f"facet: {tmp_path}/s3-keys.json: damaged, expected the keys of the local S3; remove it, and the next start "
        "makes new ones\n"
    )


STATES = (
    "", "{", "[]", '"x"', "null", '{"supervisor": [1]}', '{"supervisor": [1, 2], "server": "x"}', "\udcff",
    '{"supervisor": [99999999999999999999, 2], "server": [0, 0], "port": 99999999, "fingerprint": 1}',
)  # fmt: skip


def test_a_damaged_state_is_that_of_a_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_HOME", str(tmp_path))
    for content in STATES:
        for name in ("s3", "mlflow"):
            (tmp_path / f"{name}.json").write_text(content, errors="surrogateescape")
        shown = facet("stack", "status")
        assert (shown.returncode, shown.stdout) == (0, "mlflow  down\ns3      down\n")
        assert facet("stack", "down").returncode == 0
    (tmp_path / "s3.json").unlink()
    (tmp_path / "s3.json").mkdir()
    assert facet("stack", "status").returncode == 0


def test_servers_start_over_a_damaged_state(tmp_path: Path) -> None:
    """The data and the keys stay; the server that is running ends once nobody keeps it."""
    variables = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    first = keep_up(tmp_path, variables, wait=False)
    try:
        assert first.s3
        (tmp_path / "s3/raw/photo").write_text("x")
        (tmp_path / "s3.json").write_text("{")
        second = keep_up(tmp_path, variables, wait=False)
        assert second.s3 and second.environment["AWS_ACCESS_KEY_ID"] == first.environment["AWS_ACCESS_KEY_ID"]
        assert (tmp_path / "s3/raw/photo").read_text() == "x"
    finally:
        take_down(tmp_path)
    assert first.s3
    first.s3.server.wait(20)
    second.s3.server.wait(20)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"parameterValues": 1}'])
def test_damaged_outputs_of_a_step(tmp_path: Path, content: str) -> None:
    (tmp_path / "register").mkdir()
    (tmp_path / "register" / OUTPUTS).write_text(content)
    with pytest.raises(InputError, match=f"{OUTPUTS}: damaged, expected what the step returned; run again"):
        outputs(tmp_path, "register")
    (tmp_path / "register" / OUTPUTS).write_text(json.dumps({"parameterValues": {"version": "1"}, "artifacts": {}}))
    assert outputs(tmp_path, "register") == {"version": "1"}


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("http://[bad", "KFP_HOST is not an address"),
        ("http://host:port", "KFP_HOST http://host:port cannot be reached"),
    ],
)
def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, host: str, message: str) -> None:
    monkeypatch.setenv("KFP_HOST", host)
    failed = facet("status")
    assert failed.returncode in (1, 2)
    assert failed.stderr.startswith(f"facet: {message}") and failed.stderr.count("\n") == 1


def test_a_file_of_variables_in_another_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_bytes(b"\xff\xfeA=b")
    failed = facet("stack", "status")
    assert failed.returncode == 2
    assert failed.stderr.startswith("facet: .env: cannot be read, expected lines NAME=value in UTF-8")
    assert os.environ.get("A") is None
