"""Keeps one server of a folder running for as long as somebody uses it.

Users hold a shared lock on `<name>.users`. The supervisor is a process of its own that starts the server in a process
group and ends it when it can have that lock for itself (the kernel drops the locks of a killed user too), unless
`<name>.keep` exists. What runs where is in `<name>.json`; the port stays there for the next time. `<name>.ready` says
that the server has answered once, so that its data are whole.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import random
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
from typing import IO, Any

from pipelines.environment.errors import ServerError
from pipelines.local.processes import Process, stop_group

POLL_SECONDS = 0.2
PORTS = range(20_000, 30_000)
"""Below the ranges from which systems take the ports of outgoing connections."""


@dataclass(frozen=True, slots=True)
class Server:
    """What to run: `command(port)` with `environment` added to ours, files below `folder`.

    Any answer at the path `health` counts as ready. `unfinished` are files that are worthless when the server was
    ended before it was ever ready: the next start removes them.
    """

    name: str
    folder: Path
    command: Callable[[int], Sequence[str]]
    environment: Mapping[str, str]
    health: str = "/"
    unfinished: tuple[Path, ...] = ()

    @property
    def log(self) -> Path:
        """Where the server's output goes."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def fingerprint(self) -> str:
        """Changes when the running server would have to be started differently."""
        wanted = [list(self.command(0)), sorted(self.environment.items())]
        return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()

    def file(self, suffix: str) -> Path:
        """`<name>.<suffix>` in the folder."""
        return self.folder / f"{self.name}.{suffix}"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that has been started, not necessarily one that answers already."""

    server: Process
    supervisor: Process
    port: int
    fingerprint: str

    @property
    def url(self) -> str:
        """Where it listens: this machine only."""
        return f"http://127.0.0.1:{self.port}"


def find(server: Server) -> Running | None:
    """The running server of this folder, or None; a server whose supervisor was killed is ended here."""
    state = _read(server)
    if "server" not in state:
        return None
    running = Running(Process(**state["server"]), Process(**state["supervisor"]), state["port"], state["fingerprint"])
    if running.supervisor.alive() and running.server.alive():
        return running
    if not running.supervisor.alive():
        stop_group(running.server)
    return None


@contextlib.contextmanager
def use(server: Server) -> Iterator[Running]:
    """Starts the server, or joins those who use it; the last one to leave waits until it is gone."""
    server.folder.mkdir(parents=True, exist_ok=True)
    with server.file("users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        running = _find_or_start(server)
        try:
            yield running
        finally:
            _leave(server, running, users)


def keep(server: Server) -> Running:
    """Starts the server, or finds it, and leaves it running until `release`."""
    server.folder.mkdir(parents=True, exist_ok=True)
    with server.file("users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        server.file("keep").touch()
        return _find_or_start(server)


def release(server: Server) -> bool:
    """Undoes `keep`; returns whether the server is down, which it is not while a run uses it."""
    server.file("keep").unlink(missing_ok=True)
    running = find(server)
    if running is None:
        return True
    with server.file("users").open("a") as users:
        _leave(server, running, users)
    return not running.supervisor.alive()


def wait_until_ready(server: Server, running: Running, *, seconds: float) -> None:
    """Waits for the server's first answer.

    Raises:
        ServerError: when the server dies or does not answer in time.
    """
    if not _until(lambda: answers(running.url + server.health) or not running.server.alive(), seconds=seconds):
        raise ServerError(f"{server.name} does not answer after {seconds:.0f} seconds (log: {server.log})")
    check_alive(server, running)


def answers(url: str) -> bool:
    """Whether an HTTP server answers there, with whatever status."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()
    except OSError:
        return False
    return True


def check_alive(server: Server, running: Running) -> None:
    """Raises ServerError with the end of its log when the server has died."""
    if not running.server.alive():
        lines = server.log.read_text(errors="replace").strip().splitlines()[-1:] if server.log.exists() else []
        raise ServerError(f"{server.name} stopped: {''.join(lines) or 'it said nothing'} (log: {server.log})")


def _find_or_start(server: Server) -> Running:
    with server.file("lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = find(server)
        if running is not None and running.fingerprint == server.fingerprint:
            return running
        if running is not None:
            os.kill(running.supervisor.pid, signal.SIGTERM)
            _until(lambda: not running.supervisor.alive(), seconds=15)
        return _start(server)


def _start(server: Server) -> Running:
    port = free_port(_read(server).get("port"))
    server.log.parent.mkdir(parents=True, exist_ok=True)
    if not server.file("ready").exists():
        for path in server.unfinished:
            path.unlink(missing_ok=True)
    description = {
        "folder": str(server.folder.resolve()),
        "name": server.name,
        "port": port,
        "health": server.health,
        "fingerprint": server.fingerprint,
        "command": list(server.command(port)),
    }
    before = _read(server)
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "pipelines.local.supervisor", json.dumps(description)],
        env={**os.environ, **server.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=server.log.open("ab"),
        start_new_session=True,
    )
    if not _until(lambda: _read(server) not in ({}, before) or supervisor.poll() is not None, seconds=60):
        raise ServerError(f"{server.name} was not started within 60 seconds (log: {server.log})")
    state = _read(server)
    if state in ({}, before):
        raise ServerError(f"{server.name} could not be started (log: {server.log})")
    return Running(Process(**state["server"]), Process(**state["supervisor"]), port, server.fingerprint)


def _leave(server: Server, running: Running, users: IO[str]) -> None:
    """Gives up the lock; when nobody else uses the server, waits until its supervisor has ended it."""
    fcntl.flock(users, fcntl.LOCK_UN)
    _until(lambda: not running.supervisor.alive() or server.file("keep").exists() or _used(users), seconds=15)


def _used(users: IO[str]) -> bool:
    """Whether somebody else uses the server; a supervisor that is ending it holds the lock for itself."""
    try:
        fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        fcntl.flock(users, fcntl.LOCK_UN)
    return False


def _until(done: Callable[[], bool], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_port(wanted: int | None) -> int:
    """The wanted port when nobody has it, else any free one of `PORTS`."""
    for port in [wanted, *(random.choice(PORTS) for _ in range(200))]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port is not None:
                probe.bind(("127.0.0.1", port))
                return port
    raise ServerError(f"no free port between {PORTS.start} and {PORTS.stop}")


def _read(server: Server) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(server.file("json").read_text())
    except (OSError, ValueError):
        return {}
    return state


def _write(path: Path, state: dict[str, Any]) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")
    scratch.replace(path)


def _supervise(folder: Path, name: str, port: int, health: str, fingerprint: str, command: list[str]) -> None:
    """The supervisor's own life; it inherits its log as standard error."""
    asked_to_stop = False

    def stop(*_: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with (folder / f"{name}.users").open("a") as users:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
        leader = Process.of(server.pid)
        state = {"port": port, "fingerprint": fingerprint}
        running = {"server": {"pid": leader.pid, "started": leader.started}}
        supervisor = Process.of(os.getpid())
        running["supervisor"] = {"pid": supervisor.pid, "started": supervisor.started}
        _write(folder / f"{name}.json", {**state, **running})
        ready = folder / f"{name}.ready"
        while not asked_to_stop and server.poll() is None:
            if not ready.exists() and answers(f"http://127.0.0.1:{port}{health}"):
                ready.touch()
            if not (folder / f"{name}.keep").exists():
                # Held until this process ends, so that a new user waits for the end and starts afresh.
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
            time.sleep(POLL_SECONDS)
        stop_group(leader)
        server.wait()
        _write(folder / f"{name}.json", state)


if __name__ == "__main__":
    description = json.loads(sys.argv[1])
    _supervise(Path(description.pop("folder")), **description)
