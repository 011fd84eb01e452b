"""Steps in containers on this machine: what KFP's DockerRunner needs to be told, and a container's life.

A container runs as the owner of the run's folder (never as root), with a read-only root and no capabilities, in the
machine's own network, because the local S3 and MLflow listen on the loopback address. Its environment is that of the
run; it is never part of a command line.
"""

import codecs
import importlib
import os
import posixpath
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.environment.errors import ServerError
from serving.runtime.errors import InputError

LABEL = "facet.run"
"""Label of every container of a run; its value is the run's folder."""
IMAGE_USER = 1000
"""The user of the images, for a caller who is root."""
WORKING_FOLDER = "/app"
SHARED_MEMORY = "2g"
"""PyTorch's loader processes hand over batches in /dev/shm; the default of 64 MB ends them with a bus error."""
KILLED = 128
"""From here on an exit code is that of a process that a signal has ended."""

_PASSED = re.compile(r"(AWS_|MLFLOW_|OMP_)\w+|REQUESTS_CA_BUNDLE|SSL_CERT_FILE")


class StepFailedError(Exception):
    """A step ended by itself with an error; it would only fail again, so KFP is not to retry it."""


def check_images(images: Sequence[str]) -> None:
    """Raises ServerError when no engine answers, InputError when it has not all of the images."""
    docker = _docker()
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        message = f"no container engine answers ({error}): start one, or run without RUNNER=docker"
        raise ServerError(message) from error
    try:
        missing = [image for image in images if not _has(client, image)]
    finally:
        client.close()
    if missing:
        raise InputError(f"the engine does not have {', '.join(missing)}: run `make images`, or pull what you named")


def own_folder(folder: Path) -> None:
    """Gives a run's folder that root has made to the user of the images."""
    if os.getuid() == 0:
        os.chown(folder, IMAGE_USER, IMAGE_USER)


def run_options(folder: Path, environment: Mapping[str, str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `kfp.local.DockerRunner` for a run in this folder.

    Files and folders of this machine that the pipeline's arguments or the environment name are mounted read-only where
    the step looks for them; a relative path means the current folder here and `/app` there.
    """
    docker = _docker()
    passed = {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}
    paths = {path for path in _texts(arguments) if "/" in path and Path(path).exists()}
    paths |= {value for value in passed.values() if value.startswith("/") and Path(value).is_file()}
    owner = folder.stat()
    options: dict[str, Any] = {
        "environment": passed,
        "labels": {LABEL: str(folder)},
        "mounts": [
            docker.types.Mount(
                target=posixpath.normpath(posixpath.join(WORKING_FOLDER, path)),
                source=str(Path(path).resolve()),
                type="bind",
                read_only=True,
            )
            for path in sorted(paths)
        ],
        "network_mode": "host",
        "user": f"{owner.st_uid}:{owner.st_gid}",
        "read_only": True,
        "tmpfs": {"/tmp": ""},
        "shm_size": SHARED_MEMORY,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }
    client = docker.from_env()
    try:
        if "nvidia" in client.info().get("Runtimes", {}):
            options["device_requests"] = [docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])]
    finally:
        client.close()
    return options


class Containers:
    """The containers of one run, in the place of the function with which KFP runs a container.

    KFP's own asks for the exit code of a container that removes itself, and takes one that is gone already for a
    success: a step that failed or was killed may so count as done.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = False

    def install(self) -> None:
        """Makes KFP use `run` in this process."""
        from kfp.local import docker_task_handler

        docker_task_handler.run_docker_container = self.run

    def run(self, client: Any, image: str, command: Sequence[str], volumes: Mapping[str, Any], **options: Any) -> int:
        """Runs a command in a container that removes itself and prints its output.

        Returns:
            The exit code: 0, or that of a process that a signal has ended.

        Raises:
            StepFailedError: when the command ended by itself with another code, or the run has been stopped.
        """
        if self.stopped:
            raise StepFailedError("the run has been stopped")
        container = client.containers.create(
            image, list(command), volumes=dict(volumes), auto_remove=True, detach=True, **options
        )
        # Both are asked for before the start: afterwards the container may be gone.
        output = container.attach(stream=True, logs=True)
        with ThreadPoolExecutor(1) as waiting:
            code = waiting.submit(container.wait, condition="removed")
            try:
                container.start()
                for line in _lines(output):
                    print(line)
            except BaseException:
                _unless_gone(container.remove, force=True)
                raise
            status = int(code.result()["StatusCode"])
        if self.stopped or 0 < status < KILLED:
            raise StepFailedError(f"the container ended with exit code {status}")
        return status

    def stop(self, patience: float = 5.0) -> None:
        """Ends what runs, a training so that it can mark its MLflow run as killed, and lets nothing start any more."""
        self.stopped = True
        for container in _containers(self.folder):
            # All processes but the first, a shell that waits for the step and heeds no signal.
            _unless_gone(container.exec_run, ["sh", "-c", "kill -INT -1"])
        deadline = time.monotonic() + patience
        while _containers(self.folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        remove_containers(self.folder)


def remove_containers(folder: Path) -> None:
    """Kills and removes the containers of a run, if there are any."""
    for container in _containers(folder):
        _unless_gone(container.remove, force=True)


def _docker() -> Any:
    """The docker SDK; type checkers would take the folder of that name in this repository for it."""
    return importlib.import_module("docker")


def _containers(folder: Path) -> list[Any]:
    docker = _docker()
    client = docker.from_env()
    found: list[Any] = client.containers.list(all=True, filters={"label": f"{LABEL}={folder}"}, ignore_removed=True)
    return found


def _unless_gone(action: Any, *arguments: Any, **options: Any) -> None:
    """Does something with a container that may be ending or gone."""
    docker = _docker()
    try:
        action(*arguments, **options)
    except docker.errors.APIError as error:
        if error.status_code not in (404, 409):
            raise


def _has(client: Any, image: str) -> bool:
    docker = _docker()
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        return False
    return True


def _texts(value: Any) -> Iterator[str]:
    """Every text in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """The lines of a stream of bytes that is cut anywhere."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from lines
    if rest:
        yield rest
