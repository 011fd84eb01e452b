"""`python -m serving` as a process of the tests."""

import http.client
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (120, 90)) -> bytes:
    buffer = io.BytesIO()
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(buffer, "JPEG")
    return buffer.getvalue()


class Server:
    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = 0

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def wait(self, timeout: float = 20) -> int:
        return self.process.wait(timeout)


def environment() -> dict[str, str]:
    hidden = ("AWS_", "MLFLOW_", "FACET_", "ORT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | {"OMP_NUM_THREADS": "1"}


@contextmanager
def start(
    tmp_path: Path,
    *options: str,
    before: Callable[[], None] | None = None,
    program: Sequence[str] = ("-m", "serving"),
    **variables: str,
) -> Iterator[Server]:
    """A server whose process calls `before` before it starts; `program` is what Python runs."""
    log = tmp_path / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *program, *options], stderr=file, stdout=file, text=True,
            env=environment() | variables, preexec_fn=before,
        )  # fmt: skip
    try:
        yield Server(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@contextmanager
def serving(
    tmp_path: Path,
    *options: str,
    before: Callable[[], None] | None = None,
    program: Sequence[str] = ("-m", "serving"),
    **variables: str,
) -> Iterator[Server]:
    """A server on a free port, with its model loaded."""
    with start(tmp_path, "--port", "0", *options, before=before, program=program, **variables) as server:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"serving .* on https?://\S+:(\d+)", server.log.read_text())):
            assert server.process.poll() is None and time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.02)
        server.port = int(found[1])
        yield server
