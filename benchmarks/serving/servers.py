"""The servers that are compared: one table, how each is started, and how what it answers is read."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import psutil

from benchmarks.serving.process_tree import cpu_seconds, die_with_parent, pss, stop, tree
from pipelines.local.supervisor import free_port

ROOT = Path(__file__).parents[2]
APPS = "benchmarks.serving.peers"
OURS = "facet"
READY_S = 90.0

VARIANTS: dict[str, dict[str, str]] = {
    "": {"BENCH_WORKERS": "1", "BENCH_THREADS": "2", "BENCH_BATCH": "8", "BENCH_WAIT_MS": "5"},
    "tuned": {"BENCH_WORKERS": "2", "BENCH_THREADS": "1", "BENCH_BATCH": "1", "BENCH_WAIT_MS": "0"},
}
"""Of every peer: its defaults, and two workers of one thread that neither batch nor wait."""

_BOUNDARY = "bench-0123456789"


def _form(data: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="a.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _open_inference(data: bytes) -> bytes:
    text = base64.b64encode(data).decode()
    parameters = {"content_type": "base64"}
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "parameters": parameters, "data": [text]}
    return json.dumps({"inputs": [tensor]}).encode()


BODIES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "raw": ("image/jpeg", lambda data: data),
    "form": (f"multipart/form-data; boundary={_BOUNDARY}", _form),
    "open inference": ("application/json", _open_inference),
}
"""How an image file is sent: the content type, and from the file to the body."""


@dataclass(frozen=True)
class Server:
    """How a server is started and asked.

    In `command` and `files` $port, other free ones from $port_2 to $port_5, $folder (of this start), $model and the
    variables of its variant are replaced.

    Attributes:
        command: a program of its environment, and arguments.
        path: where images are posted.
        body: a name of BODIES.
        files: written into its folder before it starts: name -> content.
        own: it runs in the environment of this process.
        needs: a program that must be installed, and the Debian package that has it.
    """

    command: tuple[str, ...]
    path: str
    body: str = "raw"
    files: Mapping[str, str] = field(default_factory=dict)
    own: bool = False
    needs: tuple[str, str] | None = None


SERVERS: dict[str, Server] = {
    OURS: Server(("python", "-m", "serving", "--model", "$model", "--port", "$port"), "/predict", own=True),
    "naive": Server(
        ("uvicorn", f"{APPS}.naive:app", "--port", "$port", "--workers", "$BENCH_WORKERS", "--no-access-log"),
        "/predict",
    ),
    "kserve": Server(("python", "-m", f"{APPS}.kserve_server"), "/v1/models/m:predict"),
    "litserve": Server(("python", "-m", f"{APPS}.litserve_server"), "/predict", body="form"),
    "mosec": Server(
        ("python", "-m", f"{APPS}.mosec_server", "--address", "127.0.0.1", "--port", "$port", "--timeout", "30000"),
        "/inference",
    ),
    "bentoml": Server(
        ("bentoml", "serve", f"{APPS}.bentoml_service:Classifier", "--host", "127.0.0.1", "--port", "$port"), "/predict"
    ),
    "mlserver": Server(
        ("mlserver", "start", "$folder"),
        "/v2/models/m/infer",
        body="open inference",
        files={
            "settings.json": '{"host": "127.0.0.1", "http_port": $port, "grpc_port": $port_2, "debug": false,'
            ' "metrics_endpoint": null, "parallel_workers": $BENCH_WORKERS}',
            "model-settings.json": f'{{"name": "m", "implementation": "{APPS}.mlserver_runtime.Classifier",'
            ' "max_batch_size": $BENCH_BATCH, "max_batch_time": ${BENCH_WAIT_MS}e-3}',
        },
    ),
    "torchserve": Server(
        ("torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth", "--ts-config", "$folder/config"),
        "/predictions/m",
        files={
            "config": "inference_address=http://127.0.0.1:$port\nmanagement_address=http://127.0.0.1:$port_2\n"
            "metrics_address=http://127.0.0.1:$port_3\ngrpc_inference_port=$port_4\ngrpc_management_port=$port_5\n"
            "model_store=$folder/store\n"
            'load_models=m\nmodels={"m": {"1.0": {"marName": "m", "minWorkers": $BENCH_WORKERS, "maxWorkers":'
            ' $BENCH_WORKERS, "batchSize": $BENCH_BATCH, "maxBatchDelay": $BENCH_WAIT_MS}}}\n',
            # TorchServe looks for the one class that is defined in the handler's file.
            "store/m/handler.py": f"from {APPS} import torchserve_handler\n\n\n"
            "class Handler(torchserve_handler.Classifier):\n    pass\n",
            "store/m/MAR-INF/MANIFEST.json": '{"runtime": "python", "model": {"modelName": "m", "modelVersion": "1.0",'
            ' "handler": "handler.py"}}',
        },
        needs=("java", "default-jre-headless"),
    ),
    "ray": Server(
        ("serve", "run", "$folder/ray.yaml"),
        "/",
        files={
            "ray.yaml": "http_options: {host: 127.0.0.1, port: $port}\n"
            f"applications: [{{name: m, route_prefix: /, import_path: '{APPS}.ray_deployment:app'}}]\n"
        },
    ),
}
"""Ours and the peers, the heavy ones last. The peers' apps are in `peers/`, each as its documentation shows."""


@dataclass(frozen=True)
class Running:
    """A started server.

    Attributes:
        url: where images are posted.
        folder: its own, with its output in `log`.
        ready_s: seconds from its start to its first answer.
    """

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    ready_s: float

    @property
    def log(self) -> str:
        """The end of what it has written."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    @property
    def processes(self) -> list[psutil.Process]:
        """The started process and all below it."""
        return tree(self.process.pid)

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return cpu_seconds(self.processes)

    def pss(self) -> float:
        """Memory of all its processes in MiB; what they share is counted once."""
        return pss(self.processes)


class ServerError(RuntimeError):
    """A server does not start, or answers wrongly."""


@contextlib.contextmanager
def running(
    server: Server,
    folder: Path,
    *,
    environment: Path | None,
    model: Path | str,
    body: bytes,
    variables: Mapping[str, str] = VARIANTS[""],
    more: Sequence[str] = (),
    probe: str | None = None,
) -> Iterator[Running]:
    """Start a server, wait for its first answer to `body`, and stop all its processes at the end.

    Args:
        server: what is started.
        folder: its own; emptied first.
        environment: where its programs are (`bin`); None for the interpreter of this process.
        model: the file that it serves, or for ours an address.
        body: what is posted until it is answered.
        variables: environment variables, such as those of VARIANTS.
        more: arguments after those of the table.
        probe: a path that is asked instead, until it answers 200.

    Raises:
        ServerError: it ends or does not answer in time; the message has the end of its log.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, *others = (free_port(None) for _ in range(5))
    ports = {"port": port} | {f"port_{number}": other for number, other in enumerate(others, 2)}
    known = {**ports, "folder": folder.resolve(), "model": model, **variables}
    for name, text in server.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(Template(text).substitute(known))
    program, *arguments = (Template(part).substitute(known) for part in (*server.command, *more))
    programs = Path(sys.executable).parent if environment is None else environment.resolve() / "bin"
    started = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / program, *arguments],
            cwd=folder,
            env={
                **os.environ,
                **variables,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(folder.resolve()),
                "BENCH_MODEL": str(model),
                "BENCH_PORT": str(port),
                **_QUIET,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        url = base + (server.path if probe is None else probe)
        _wait(lambda: ask(url, None if probe else body, BODIES[server.body][0]), process, folder)
        yield Running(process, base + server.path, folder, time.perf_counter() - started)
    finally:
        stop(process)


# Of the peers: no reports of their use to anybody.
_QUIET = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1"}


def _wait(question: Callable[[], object], process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            question()
            return
        except OSError as error:  # also of an answer that is no 200
            if process.poll() is not None or time.monotonic() > deadline:
                text = (folder / "log").read_text(errors="replace")[-2000:]
                raise ServerError(f"{folder.name} does not answer: {error}\n{text}") from error
        time.sleep(0.02)


def ask(url: str, body: bytes | None, content_type: str, headers: Mapping[str, str] | None = None) -> Any:
    """Post a body, or get with None, and return the answer's JSON (None where it is empty); OSError unless 200."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type, **(headers or {})})
    with urllib.request.urlopen(request, timeout=30) as response:
        content = response.read()
    try:
        return json.loads(content)
    except ValueError:
        return None


def probabilities(answer: Any, labels: int) -> list[float]:
    """Return the first `labels` numbers that stand together in an answer, whatever is around them.

    Raises ServerError when there are none.
    """
    values = list(answer.values()) if isinstance(answer, dict) else answer
    if isinstance(values, list):
        if len(values) == labels and all(isinstance(value, float | int) for value in values):
            return [float(value) for value in values]
        for value in values:
            with contextlib.suppress(ServerError):
                return probabilities(value, labels)
    raise ServerError(f"no {labels} probabilities in the answer {str(answer)[:300]}")


def missing(name: str) -> str:
    """Say which program a server lacks on this machine, and how to install it; "" when it lacks none."""
    needs = SERVERS[name].needs
    if needs is None or shutil.which(needs[0]):
        return ""
    return f"{name} needs the program {needs[0]}: apt-get install {needs[1]}"
