"""Servers of the local stack, shared by all runs of a folder and stopped with the last of them.

A user holds a shared lock on `<name>.users`, which the kernel drops when it is killed. Whoever holds `<name>.lock` may
start or stop the server. The last user to leave stops it, unless `<name>.keep` exists. A supervisor, a process of its
own, does the same for users that were killed: without it a run that ends by SIGKILL would leave S3 and MLflow running.

`<name>.json` holds both processes and the port, which is used again at the next start. `<name>.ready` exists once the
server has answered, so that its data are complete.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import BaseModel, Field, ValidationError

from pipelines.environment.errors import ServerError
from pipelines.local.processes import alive, find_process, stop_group, until
from serving.runtime.output import write_text

_PR_SET_PDEATHSIG = 1
_FULL_BYTES = 2**20
POLL_SECONDS = 0.2
PORTS = range(20_000, 30_000)
"""Below the ranges from which systems take the ports of outgoing connections."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server to run: `command(port)` with `environment` added to ours, files below `folder`.

    Any response at the path `health` counts as ready. `incomplete` are files that cannot be used when the server was
    stopped before it was ever ready: the next start removes them.
    """

    name: str
    folder: Path
    command: Callable[[int], Sequence[str]]
    environment: Mapping[str, str]
    health: str = "/"
    incomplete: tuple[Path, ...] = ()

    @property
    def log(self) -> Path:
        """The file with the server's output."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def fingerprint(self) -> str:
        """A digest of arguments and environment: a running server with another one is restarted.

        The path of the program is no part of it: the same folder is served whatever Python the command was started by.
        """
        return hashlib.sha256(json.dumps([self.command(0)[1:], sorted(self.environment.items())]).encode()).hexdigest()

    def file(self, suffix: str) -> Path:
        """`<name>.<suffix>` in the folder."""
        return self.folder / f"{self.name}.{suffix}"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started; it may not answer yet."""

    server: psutil.Process
    supervisor: psutil.Process
    port: int
    fingerprint: str

    @property
    def url(self) -> str:
        """Its address, on the loopback interface."""
        return f"http://127.0.0.1:{self.port}"


def find(server: Server) -> Running | None:
    """The running server of this folder, or None; a server whose supervisor was killed is stopped here."""
    state = _read(server)
    if not state:
        return None
    # Start times move with the system's clock, so what still runs is known by its command line and its parent.
    supervisor = next((one for one in _supervisors(server) if one.pid == state.supervisor[0]), None)
    process = _child(supervisor, state.server[0]) if supervisor else find_process(*state.server)
    if supervisor and process:
        return Running(process, supervisor, state.port, state.fingerprint)
    if process:
        stop_group(process)
    return None


@contextlib.contextmanager
def use(server: Server) -> Iterator[Running]:
    """Starts the server or shares the running one; the last user waits until it has stopped."""
    server.folder.mkdir(parents=True, exist_ok=True)
    with server.file("users").open("a") as users:
        with _locked(server):
            fcntl.flock(users, fcntl.LOCK_SH)
            running = _find_or_start(server)
        try:
            yield running
        finally:
            with _locked(server):
                fcntl.flock(users, fcntl.LOCK_UN)
                _stop_if_unused(server)


def keep(server: Server) -> Running:
    """Starts the server or finds the running one, and leaves it running until `release`."""
    server.folder.mkdir(parents=True, exist_ok=True)
    with _locked(server):
        server.file("keep").touch()
        return _find_or_start(server)


def release(server: Server) -> bool:
    """Undoes `keep`; returns whether the server is down, which it is not while a run uses it."""
    if not server.folder.exists():
        return True
    with _locked(server):
        server.file("keep").unlink(missing_ok=True)
        if not _unused(server.folder, server.name):
            return False
        for supervisor in _supervisors(server):
            _stop(supervisor)
        return True


def wait_until_ready(server: Server, running: Running, *, seconds: float) -> None:
    """Waits for the server's first response.

    Raises:
        ServerError: the server died or did not answer in time.
    """
    if not until(lambda: answers(running.url + server.health) or not alive(running.server), seconds=seconds):
        raise ServerError(f"{server.name} does not answer after {seconds:.0f} seconds (log: {server.log})")
    if not alive(running.server):
        raise _stopped(server)


def answers(url: str) -> bool:
    """Whether an HTTP server answers there, with any status."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as response:
        response.close()
    except OSError:
        return False
    return True


def free_port(preferred: int | None) -> int:
    """The preferred port when it is free, otherwise any free one of `PORTS`."""
    for port in [preferred, *(random.choice(PORTS) for _ in range(200))]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port is not None:
                probe.bind(("127.0.0.1", port))
                return port
    raise ServerError(f"no free port between {PORTS.start} and {PORTS.stop}")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turns signals that end a process into a KeyboardInterrupt; see `stop_signals`."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with stop_signals(interrupt):
        yield


@contextlib.contextmanager
def stop_signals(handler: Callable[..., None]) -> Iterator[None]:
    """Handles the signals that end a process until the block ends, also when a shell started it with them ignored.

    SIGHUP stays ignored where it is: `nohup` asks for that.
    """
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextlib.contextmanager
def _locked(server: Server) -> Iterator[None]:
    with server.file("lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_or_start(server: Server) -> Running:
    running = find(server)
    if running is not None and running.fingerprint == server.fingerprint:
        return running
    for supervisor in _supervisors(server):
        _stop(supervisor)
    state = _read(server)
    port = free_port(state.port if state else None)
    server.log.parent.mkdir(parents=True, exist_ok=True)
    if not server.file("ready").exists():
        for path in server.incomplete:
            path.unlink(missing_ok=True)
    arguments = [server.folder.resolve(), server.name, port, server.health, server.fingerprint, *server.command(port)]
    with server.log.open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", __name__, *(str(argument) for argument in arguments)],
            env={**os.environ, **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert supervisor.stdout
    with supervisor.stdout as started:
        started.readline()
    running = find(server)
    if running is None:
        until(lambda: supervisor.poll() is not None, seconds=15)
        raise _stopped(server)
    return running


def _stopped(server: Server) -> ServerError:
    message = server.log.read_text(errors="replace").strip().rpartition("\n")[2]
    full = "; the disk is full: free some space" if shutil.disk_usage(server.folder).free < _FULL_BYTES else ""
    return ServerError(f"{server.name} stopped: {message or 'no message'}{full} (log: {server.log})")


def _stop_if_unused(server: Server) -> None:
    if _unused(server.folder, server.name):
        for supervisor in _supervisors(server):
            _stop(supervisor)


def _supervisors(server: Server) -> list[psutil.Process]:
    """All running supervisors of this server, which their command lines name; there is at most one but for faults."""
    beginning = ["-m", __name__, str(server.folder.resolve()), server.name]
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1 : 1 + len(beginning)] == beginning and alive(process):
                found.append(process)
    return found


def _child(parent: psutil.Process, pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        return next((child for child in parent.children() if child.pid == pid and alive(child)), None)
    return None


def _unused(folder: Path, name: str) -> bool:
    """Whether a server has no user and is not kept; asked while `<name>.lock` is held."""
    if (folder / f"{name}.keep").exists():
        return False
    with (folder / f"{name}.users").open("a") as users, contextlib.suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _stop(supervisor: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor.terminate()
        if not until(lambda: not alive(supervisor), seconds=30):
            supervisor.kill()  # the kernel ends the server with it
            until(lambda: not alive(supervisor), seconds=5)


_Process = tuple[Annotated[int, Field(ge=1, lt=2**31)], float]


class _State(BaseModel):
    """`<name>.json`: number and start time of both processes, port, and digest of the server."""

    supervisor: _Process
    server: _Process
    port: int = Field(ge=1, le=65535)
    fingerprint: str


def _read(server: Server) -> _State | None:
    """The state of a server; None without a file, and for one that is damaged or of an older version."""
    try:
        return _State.model_validate_json(server.file("json").read_bytes())
    except (OSError, ValidationError):
        return None


def _end_with_parent() -> None:
    """Let the kernel stop this process when its parent was killed; elsewhere than on Linux `find` does it later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _supervise(folder: Path, name: str, port: int, health: str, fingerprint: str, command: Sequence[str]) -> None:
    """Runs the server until it ends, nobody uses it or SIGTERM comes; standard error is the server's log."""
    asked_to_stop = False

    def stop(*_: object) -> None:
        # Not a threading.Event: its lock may be held by the very wait that the signal interrupts.
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with (folder / f"{name}.lock").open("a") as lock:
        server = psutil.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True, preexec_fn=_end_with_parent
        )
        try:
            processes = {"server": server, "supervisor": psutil.Process()}
            state = {role: [process.pid, process.create_time()] for role, process in processes.items()}
            write_text(folder / f"{name}.json", json.dumps({**state, "port": port, "fingerprint": fingerprint}) + "\n")
            print("started", flush=True)
            ready = folder / f"{name}.ready"
            while server.poll() is None and not asked_to_stop:
                if not ready.exists() and answers(f"http://127.0.0.1:{port}{health}"):
                    ready.touch()
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _unused(folder, name):
                        break  # with the lock: whoever wants to start the server waits for the end of this process
                    fcntl.flock(lock, fcntl.LOCK_UN)
                time.sleep(POLL_SECONDS)
        finally:  # also when somebody has deleted the folder, at any moment
            stop_group(server)


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6:])
