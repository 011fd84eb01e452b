"""Steps in containers on this machine: options of KFP's DockerRunner, and the lifecycle of a container.

A container runs as the owner of the run's folder (never as root), with a read-only root and no capabilities, in the
host's network, because the local S3 and MLflow listen on the loopback interface. Secrets reach it as environment
variables and never on a command line.
"""

import codecs
import contextlib
import importlib
import os
import posixpath
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components import container_images
from components.shared.cache import VARIABLE as CACHE
from pipelines.environment.errors import ServerError
from serving.runtime.errors import InputError

LABEL = "facet.run"
"""Label of every container of a run; its value is the run's folder."""
IMAGE_USER = 1000
"""The user of the images, used when the caller is root."""
WORKING_FOLDER = "/app"
SHARED_MEMORY = "2g"
"""PyTorch's loader processes pass batches through /dev/shm; with the default of 64 MB they die of a bus error."""
KILLED = 128
"""Exit codes from here on are those of processes that a signal killed."""

_PASSED_VARIABLES = re.compile(
    r"(AWS_|MLFLOW_|OMP_)\w+|FACET_PATIENCE_SECONDS|FACET_CACHE|REQUESTS_CA_BUNDLE|SSL_CERT_FILE"
)


class StepFailedError(Exception):
    """A step exited with an error, not by a signal; KFP must not retry it, as it would fail again."""


def check_images(images: Sequence[str]) -> None:
    """Raises ServerError when no container engine answers, InputError when it lacks one of the images."""
    docker = _docker()
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        message = f"no container engine answers ({error}): start one, or run without RUNNER=docker"
        raise ServerError(message) from error
    with contextlib.closing(client):
        missing = [image for image in images if not _has(client, image)]
    if missing:
        targets = [name.lower() for name, image in vars(container_images).items() if image in missing]
        make = f'TARGETS="{" ".join(targets)}" make images' if targets else "make images"
        raise InputError(f"the engine does not have {', '.join(missing)}: run `{make}`, or pull them")


def own_folder(folder: Path) -> None:
    """Changes the owner of a run's folder from root to the user of the images."""
    if os.getuid() == 0:
        os.chown(folder, IMAGE_USER, IMAGE_USER)


def run_options(folder: Path, environment: Mapping[str, str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `kfp.local.DockerRunner` for a run in this folder.

    Files and folders that the pipeline's arguments or the environment name are mounted read-only at the same path; a
    relative path is relative to the current folder here and to `/app` in the container. The cache can be written.
    """
    docker = _docker()
    passed = {name: value for name, value in environment.items() if _PASSED_VARIABLES.fullmatch(name)}
    paths = {path for path in _texts(arguments) if "/" in path and Path(path).exists()}
    paths |= {value for value in passed.values() if value.startswith("/") and Path(value).is_file()}
    cache = passed.get(CACHE, "")
    paths |= {cache} - {""}
    owner = folder.stat()
    options: dict[str, Any] = {
        "environment": passed,
        "labels": {LABEL: str(folder)},
        "mounts": [
            docker.types.Mount(
                target=posixpath.normpath(posixpath.join(WORKING_FOLDER, path)),
                source=str(Path(path).resolve()),
                type="bind",
                read_only=path != cache,
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
    with contextlib.closing(docker.from_env()) as client:
        if "nvidia" in client.info().get("Runtimes", {}):
            options["device_requests"] = [docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return options


class Containers:
    """The containers of one run.

    `run` replaces `kfp.local.docker_task_handler.run_docker_container` (2.17), which waits for a container that removes
    itself and reports success when it is gone by then: a step that failed or was killed may count as done. It can go
    when KFP waits before the removal.
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
            The exit code: 0, or that of a process that a signal killed.

        Raises:
            StepFailedError: the command exited with another code, or the run was stopped.
        """
        if self.stopped:
            raise StepFailedError("the run was stopped")
        container = client.containers.create(
            image, list(command), volumes=dict(volumes), auto_remove=True, detach=True, **options
        )
        # Both requests are made before the start: afterwards the container may be gone.
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
        """Interrupts the running step, for a training to mark its MLflow run as killed; prevents further starts."""
        self.stopped = True
        for container in _containers(self.folder):
            # All processes but the first, a shell that waits for the step and ignores signals.
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
    """The docker SDK; type checkers would resolve a plain import to this repository's folder of that name."""
    return importlib.import_module("docker")


def _containers(folder: Path) -> list[Any]:
    filters = {"label": f"{LABEL}={folder}"}
    containers: list[Any] = _docker().from_env().containers.list(all=True, filters=filters, ignore_removed=True)
    return containers


def _unless_gone(action: Any, *arguments: Any, **options: Any) -> None:
    """Calls a method of a container that may be stopping or gone."""
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
    """Every string in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """The lines of a stream of bytes in arbitrary chunks."""
    rest = ""
    for text in codecs.iterdecode(chunks, "utf-8", errors="replace"):
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest
