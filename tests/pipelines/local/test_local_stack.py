"""The local stack: real servers that start together, are shared, and leave nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from command_line import facet
from running_processes import processes_with

from pipelines.environment.errors import ServerError
from pipelines.environment.settings import Settings
from pipelines.local import stack as stack_module
from pipelines.local.processes import alive, until
from pipelines.local.stack import Stack, keep_up, local_stack, running, running_environment, take_down
from pipelines.local.supervisor import Server, answers, free_port, keep, release, use, wait_until_ready
from serving.runtime.errors import StorageError
from serving.runtime.storage import Location, upload

NO_MLFLOW = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
USER = """
import sys, time
from pathlib import Path
from pipelines.local.stack import local_stack
with local_stack(Path(sys.argv[1]), dict(a.split("=", 1) for a in sys.argv[2:])):
    print("up", flush=True)
    time.sleep(60)
"""
PAGES = """
import signal, sys
from pathlib import Path
from pipelines.environment.settings import Settings
from pipelines.local import stack
stack.keep_up = lambda home: stack.Stack(None, None, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
start = stack.psutil.Popen
def Popen(*command, **options):
    process = start(*command, **options)
    if sys.argv[2:]:
        signal.raise_signal(int(sys.argv[2]))  # before the caller knows of the process
    return process
stack.psutil.Popen = Popen
stack.open_pages(Settings.from_environment({"FACET_HOME": sys.argv[1]}))
"""


@pytest.fixture
def home(tmp_path: Path, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "home.with.dots"
    yield folder
    left = survivors(folder)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes have outlived the test"


def survivors(folder: Path) -> list[int]:
    """Processes whose command line contains the folder."""
    return list(processes_with(str(folder)))


def gone(folder: Path, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while left := survivors(folder):
        if time.monotonic() > deadline:
            print(left)
            return False
        time.sleep(0.05)
    return True


def start_user(home: Path, *settings: str) -> subprocess.Popen[str]:
    user = subprocess.Popen([sys.executable, "-c", USER, home, *settings], stdout=subprocess.PIPE, text=True)
    assert user.stdout
    assert user.stdout.readline() == "up\n"
    return user


def test_data_keys_and_port_survive(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    first: dict[str, str] = {}
    for _ in range(2):
        with local_stack(home, NO_MLFLOW) as stack:
            assert stack.environment == (first or stack.environment)
            for name, value in stack.environment.items():
                monkeypatch.setenv(name, value)
            if not first:
                upload(tmp_path / "photo.jpg", "s3://raw/faces/photo.jpg")
            assert Location("s3://raw/faces/photo.jpg").read() == b"photo"
            assert {bucket for bucket in ("raw", "pipelines", "mlflow") if Location(f"s3://{bucket}").exists()}
        first = stack.environment
        assert gone(home, 0)
    keys = home / "s3-keys.json"
    assert keys.stat().st_mode & 0o777 == 0o600
    values = json.loads(keys.read_text())
    assert [len(values[name]) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")] == [20, 40]


def test_keys_are_in_no_command_line_and_needed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_stack(home, NO_MLFLOW) as stack:
        commands = "".join(processes_with(str(home)).values())
        assert "rclone" in commands
        assert stack.environment["AWS_SECRET_ACCESS_KEY"] not in commands
        assert "127.0.0.1:" in commands, "loopback only"
        for name, value in {**stack.environment, "AWS_SECRET_ACCESS_KEY": "x" * 40}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StorageError):
            Location("s3://raw").list()


def test_another_port_is_used_when_the_last_one_is_taken(home: Path) -> None:
    with local_stack(home, NO_MLFLOW) as before:
        assert before.s3
    with socket.create_server(("127.0.0.1", before.s3.port)), local_stack(home, NO_MLFLOW) as after:
        assert after.s3
        assert after.s3.port != before.s3.port


def test_shared_by_two_and_stopped_by_the_last(home: Path) -> None:
    with local_stack(home, NO_MLFLOW) as one:
        with local_stack(home, NO_MLFLOW) as two:
            assert two == one
        assert running(home)["s3"] == one.s3
        assert answers(one.environment["AWS_ENDPOINT_URL"])
    assert gone(home, 0)


def test_two_processes_at_once(home: Path) -> None:
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER.replace("60", "1"), home, "MLFLOW_TRACKING_URI=http://127.0.0.1:9"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [(user.communicate(timeout=180)[1], user.returncode) for user in users] == [("", 0), ("", 0)]
    assert gone(home, 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_the_user(home: Path, number: signal.Signals) -> None:
    user = start_user(home)  # with MLflow, which has processes of its own
    time.sleep(1)
    assert len(survivors(home)) >= 5
    user.send_signal(number)
    user.wait()
    assert gone(home)


def test_servers_end_with_a_supervisor_that_was_killed(home: Path) -> None:
    user = start_user(home)
    for name in ("s3", "mlflow"):
        os.kill(json.loads((home / f"{name}.json").read_text())["supervisor"][0], signal.SIGKILL)
    user.kill()
    user.wait()
    assert gone(home)
    with local_stack(home, NO_MLFLOW) as stack:
        assert stack.s3 and len(survivors(home)) == 2


def test_a_server_without_its_supervisor_is_replaced(home: Path) -> None:
    """As where the kernel does not end it."""
    with local_stack(home, NO_MLFLOW) as stack:
        assert stack.s3
        state = json.loads((home / "s3.json").read_text())
        (home / "s3.json").write_text(json.dumps({**state, "supervisor": [2**22, 0.0]}))
        with local_stack(home, NO_MLFLOW) as second:
            assert second.s3 and second.s3.server.pid != stack.s3.server.pid
            assert stack.s3.server.pid not in survivors(home)


def test_kept_until_taken_down(home: Path) -> None:
    kept = keep_up(home, NO_MLFLOW)
    with local_stack(home, NO_MLFLOW) as stack:
        assert stack.s3 == kept.s3
    time.sleep(0.6)
    assert running(home)["s3"] == kept.s3
    with local_stack(home, NO_MLFLOW):
        assert take_down(home) == ["s3"], "a run uses it"
    assert gone(home, 1)
    assert take_down(home) == []
    assert running(home) == {"mlflow": None, "s3": None}


def test_one_server_after_the_clock_has_moved(home: Path) -> None:
    """Start times follow the system's clock: a server whose start time no longer fits is the same server."""
    kept = keep_up(home, NO_MLFLOW)
    state = json.loads((home / "s3.json").read_text())
    moved = {role: [state[role][0], state[role][1] + 60] for role in ("supervisor", "server")}
    (home / "s3.json").write_text(json.dumps({**state, **moved}))
    with local_stack(home, NO_MLFLOW) as stack:
        assert kept.s3 and stack.s3 and stack.s3.server.pid == kept.s3.server.pid
    assert take_down(home) == [] and not survivors(home)


def test_what_is_stopped_includes_a_server_that_nothing_names(home: Path) -> None:
    keep_up(home, NO_MLFLOW)
    (home / "s3.json").unlink()
    assert take_down(home) == [] and not survivors(home)


def test_serve_and_a_command_of_the_registry_share_one_mlflow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever variables the second one is started with."""
    kept = keep_up(home)
    monkeypatch.setenv("FACET_HOME", str(home))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    shown = facet("rollback", "nope")
    assert shown.returncode == 2 and "nope" in shown.stderr
    assert running(home)["mlflow"] == kept.mlflow
    servers = [line for line in processes_with(str(home / "mlflow.db")).values() if "supervisor" in line]
    assert len(servers) == 1
    assert take_down(home) == [] and not survivors(home)


def test_the_users_own_servers_are_used(home: Path, no_aws: None) -> None:
    own = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "me", **NO_MLFLOW}
    with local_stack(home, own) as stack:
        assert (stack.s3, stack.mlflow) == (None, None)
        assert own.items() <= stack.environment.items()
        assert all("yours" in line for line in stack.lines())
    assert not home.exists()


def test_a_password_in_an_address_is_not_shown() -> None:
    own = {
        "AWS_ENDPOINT_URL": "http://me:hidden@s3.example:9000",
        "MLFLOW_TRACKING_URI": "http://me:hidden@ml.example/a",
    }
    stack = Stack(None, None, own)
    assert stack.lines() == ["S3      http://s3.example:9000  (yours)", "MLflow  http://ml.example/a  (yours)"]


def test_a_server_with_other_settings_is_restarted(home: Path) -> None:
    first = keep(web(home, {"GREETING": "a"}))
    assert keep(web(home, {"GREETING": "a"})) == first
    second = keep(web(home, {"GREETING": "b"}))
    assert second.server != first.server
    assert not alive(first.server)
    assert release(web(home))


def test_the_error_of_a_dead_server_names_its_log(home: Path) -> None:
    words = [sys.executable, "-c", f"import sys; sys.exit('no luck in {home}')"]
    server = Server("web", home, lambda port: words, {})
    with pytest.raises(ServerError, match=r"web stopped: no luck.*log: .*logs/web\.log"), use(server) as started:
        wait_until_ready(server, started, seconds=60)


def test_a_server_stops_when_its_folder_is_deleted(home: Path) -> None:
    kept = keep(web(home))
    shutil.rmtree(home)
    assert until(lambda: not alive(kept.server), seconds=20)
    assert gone(home)


def test_only_files_of_an_interrupted_start_are_removed(home: Path) -> None:
    database = home / "web.db"
    server = web(home, incomplete=(database,))
    home.mkdir()
    database.write_text("half")
    with use(server) as started:
        assert not database.exists()
        wait_until_ready(server, started, seconds=60)
        database.write_text("whole")
        time.sleep(0.5)
    with use(server):
        assert database.read_text() == "whole"


def test_mlflow_may_be_interrupted_while_it_makes_its_database() -> None:
    server = stack_module._mlflow(Path("home"), {})
    assert Path("home/mlflow.db").resolve() in server.incomplete


def web(home: Path, environment: dict[str, str] | None = None, *, incomplete: tuple[Path, ...] = ()) -> Server:
    """A web server that starts at once."""

    def command(port: int) -> Sequence[str]:
        return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(home)]

    return Server("web", home, command, environment or {}, incomplete=incomplete)


def test_free_port_prefers_a_port_that_is_free() -> None:
    port = free_port(None)
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) != port


@pytest.mark.parametrize(
    ("members", "waits"),
    [
        (["models:/yunet/1", "heads/mask.onnx"], True),
        (["yunet.onnx", "s3://models/mask"], False),
        (["yunet.onnx", "heads/mask.onnx"], None),
    ],
)
@pytest.mark.parametrize("address", ["{}", "{}/composite.json", "file://{}"])
def test_members_of_a_composite_need_the_stack_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[str], waits: bool | None, address: str
) -> None:
    started, commands = list[bool](), list[Sequence[str]]()
    values = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}

    def keep_up(_: Path, *, wait: bool) -> Stack:
        started.append(wait)
        return Stack(None, None, values)

    monkeypatch.setattr(stack_module, "keep_up", keep_up)
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    card = {"name": "people", "detectors": members[:1], "heads": members[1:]}
    (tmp_path / "composite.json").write_text(json.dumps(card))
    model = address.format(tmp_path)
    stack_module.serve([model], 8080, Settings.from_environment({"FACET_HOME": str(tmp_path)}))
    assert started == ([] if waits is None else [waits])
    assert f"--model={model}" in commands[0]


def test_serve_passes_repositories_and_options_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = list[Sequence[str]]()
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    for given in (["--repository", str(tmp_path), "--poll-s", "3"], ["--model=a.onnx", "--model", "b.onnx"]):
        assert facet("serve", *given, "--port", "80").returncode == 0
    (_, *first), (_, *second) = commands
    assert first == ["-m", "serving", f"--repository={tmp_path}", "--port=80", "--poll-s", "3"]
    assert second == ["-m", "serving", "--model=a.onnx", "--model=b.onnx", "--port=80"]


def test_a_step_uses_a_stack_that_is_up_and_starts_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running_environment(home) == {}
    assert not survivors(home)
    up = keep_up(home, wait=False)
    try:
        monkeypatch.setenv("FACET_HOME", str(home))
        assert running_environment(home) == up.environment
        assert running_environment(home, {"AWS_PROFILE": "mine"}) == {}
        outputs = ["--images", home / "images", "--annotations", home / "annotations.json"]
        failed = facet("step", "ingest", "--source", "s3://raw/none", *outputs)
        assert "s3://raw/none: there is nothing at or below this key" in failed.stderr
    finally:
        take_down(home)
    assert gone(home)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_tensorboard_starts_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    own = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", PAGES, str(tmp_path), str(int(number))]
    subprocess.run(command, env=os.environ | own, check=True, capture_output=True, timeout=60)
    assert not survivors(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_web_pages_end_with_their_command(tmp_path: Path, number: signal.Signals) -> None:
    """TensorBoard ends however `facet ui` is ended; the servers of the stack are the user's own here."""
    own = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-u", "-c", PAGES, str(tmp_path)]
    with subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert next(line for line in process.stdout if "TensorBoard" in line)
        assert until(lambda: bool(list(processes_with(f"--logdir={tmp_path}"))), seconds=30)
        process.send_signal(number)
        process.wait(60)
    assert not survivors(tmp_path)
