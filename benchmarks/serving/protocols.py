"""Our server through REST with a raw body, the binary tensor extension and gRPC, all loaded by `h2load`.

`wrk` speaks no HTTP/2, so this comparison has a generator of its own. The requests are those of `tritonclient`.
"""

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.benchmark import Benchmark
from benchmarks.serving import loop
from benchmarks.serving.compare import Row, started
from benchmarks.serving.load import MissingError
from benchmarks.serving.process_tree import die_with_parent
from benchmarks.serving.servers import OURS, Running, ServerError
from benchmarks.serving.setup import Section, Setup
from benchmarks.serving.tables import markdown
from pipelines.local.supervisor import free_port

_CLIENTS = 8
_WARM_S = 1


@dataclass(frozen=True)
class _Way:
    url: str
    body: Path
    headers: tuple[str, ...]
    http_2: bool = False


def protocols(setup: Setup) -> Section:
    """The light model; a request is one picture."""
    section = Section("Protocols: the light model, one picture a request, 8 clients (h2load)")
    if shutil.which("h2load") is None:
        raise MissingError("the load generator h2load is missing: apt-get install nghttp2-client (Debian, Ubuntu)")
    text = subprocess.run([sys.executable, "-m", "serving", "--help"], check=True, capture_output=True, text=True)
    if "--grpc-port" not in text.stdout:
        section.failures.append("protocols: this version of the server has no --grpc-port; nothing is measured")
        return section
    grpc_port = free_port(None)
    seen: dict[str, list[dict[str, float]]] = {}
    with started(setup, Row(OURS, "", "light"), more=("--grpc-port", str(grpc_port))) as one:
        ways = _ways(one, grpc_port, setup)
        for number in range(setup.rounds + 1):
            for name, way in ways.items():
                seconds = _WARM_S if number == 0 else round(setup.seconds)
                result = _load(one, way, seconds)
                if number:
                    seen.setdefault(name, []).append(result)
    middle = {
        name: {key: statistics.median(one[key] for one in results) for key in results[0]}
        for name, results in seen.items()
    }
    columns = ["requests/s", "p50 ms", "p99 ms", "CPU ms", "failed"]
    section.lines = markdown(["", *columns], [[name, *values.values()] for name, values in middle.items()])
    raw = middle["REST, raw body"]["per_second"]
    section.figures = [
        Benchmark.compared(f"serving_light: {name}", values["per_second"], raw, "requests/s", 1.0)
        for name, values in middle.items()
        if values["per_second"] != raw
    ]
    return section


def _ways(one: Running, grpc_port: int, setup: Setup) -> dict[str, _Way]:
    picture, model = setup.pictures[0], setup.models["light"]
    base = one.url.removesuffix("/predict")
    addresses = (base.removeprefix("http://"), f"127.0.0.1:{grpc_port}")
    answer = subprocess.run(
        # In a process of its own: gRPC does not like that this one forks.
        [sys.executable, "-m", "benchmarks.serving.triton_requests", *addresses, model.stem, picture, one.folder],
        stdout=subprocess.PIPE,
        text=True,
    )
    if answer.returncode:
        raise ServerError("tritonclient was not answered; its error is above")
    answers = json.loads(answer.stdout)
    expected = loop.probabilities(model, "own", picture.read_bytes())
    for name in ("binary", "grpc"):
        if not np.allclose(answers[name], expected, atol=1e-5):
            raise ServerError(f"the answer through {name} is {answers[name]}, expected {expected}")
    length = f"Inference-Header-Content-Length: {answers['header_length']}"
    tensors = ("Content-Type: application/octet-stream", length)
    call = f"http://{addresses[1]}/inference.GRPCInferenceService/ModelInfer"
    return {
        "REST, raw body": _Way(one.url, picture, ("Content-Type: image/jpeg",)),
        "binary tensors": _Way(f"{base}/v2/models/{model.stem}/infer", one.folder / "binary", tensors),
        "gRPC": _Way(call, one.folder / "grpc", ("Content-Type: application/grpc", "TE: trailers"), http_2=True),
    }


def _load(one: Running, way: _Way, seconds: int) -> dict[str, float]:
    """Post one body again and again; returns what the columns of the table name."""
    log = one.folder / "requests"
    log.unlink(missing_ok=True)
    options = [f"--clients={_CLIENTS}", f"--duration={seconds}", f"--log-file={log}", f"--data={way.body}"]
    options += [] if way.http_2 else ["--h1"]
    headers = [f"--header={header}" for header in way.headers]
    before = one.cpu_seconds()
    command = ["h2load", *options, *headers, way.url]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    cpu = one.cpu_seconds() - before
    # One line a request: when it began, the status, and how long it took, in microseconds.
    requests = [line.split("\t") for line in log.read_text().splitlines()]
    good = [float(took) / 1000 for _, status, took in requests if status == "200"]
    if not good:
        raise ServerError(f"{way.url} answered no request")
    p50, p99 = np.percentile(good, [50, 99])
    return {
        "per_second": len(good) / seconds,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "cpu_ms": 1000 * cpu / len(good),
        "failed": float(len(requests) - len(good)),
    }
