"""Load from `wrk`, and what it cost the server."""

import json
import math
import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.process_tree import die_with_parent
from benchmarks.serving.servers import BODIES, Running

SCRIPT = Path(__file__).with_name("load.lua")

_TIMEOUT_S = 20
_SAMPLE_S = 1.0


class MissingError(RuntimeError):
    """A program is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Load:
    """What clients saw in one stretch of load, or the medians of several.

    Attributes:
        per_second: answers in a second.
        p50_ms, p99_ms: latency.
        errors: answers that were no 200, and broken connections, all together.
        cpu_ms: processor time of the server for each answer.
        pss: the most memory that was seen, MiB.
        spread: the lowest and highest `per_second` of several.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: float
    cpu_ms: float
    pss: float
    spread: tuple[float, float] = (0.0, 0.0)


def check_wrk() -> None:
    """Raise MissingError when the load generator is not installed."""
    if shutil.which("wrk") is None:
        raise MissingError("the load generator wrk is missing: apt-get install wrk (Debian, Ubuntu), brew install wrk")


def write_bodies(folder: Path, pictures: Sequence[Path], encode: Callable[[bytes], bytes]) -> Path:
    """Write what is posted for each picture as files 0, 1, ... and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        (folder / str(number)).write_bytes(encode(picture.read_bytes()))
    return folder


def load(
    server: Running,
    bodies: Path,
    *,
    clients: int,
    seconds: float,
    content_type: str = BODIES["raw"][0],
    url: str = "",
    headers: Mapping[str, str] | None = None,
) -> Load:
    """Post the files of a folder in turn from as many connections as `clients`, each waiting for its answer."""
    check_wrk()
    all_headers = {"Content-Type": content_type, **(headers or {})}
    options = ["-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", f"--timeout={_TIMEOUT_S}s", "--latency"]
    script = [f"--script={SCRIPT}", url or server.url, "--", str(bodies), str(len(list(bodies.iterdir())))]
    before, most = server.cpu_seconds(), server.pss()
    with subprocess.Popen(
        ["wrk", *options, *script, *(f"{name}={value}" for name, value in all_headers.items())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
    ) as wrk:
        while True:
            try:
                output, _ = wrk.communicate(timeout=_SAMPLE_S)
                break
            except subprocess.TimeoutExpired:
                most = max(most, server.pss())
    cpu = server.cpu_seconds() - before
    return read_output(output, cpu, max(most, server.pss()))


def read_output(output: str, cpu_s: float, pss: float) -> Load:
    """Read what load.lua printed; raise RuntimeError with the output when it printed no result."""
    lines = [line for line in output.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise RuntimeError(f"wrk gave no result:\n{output[-2000:]}")
    seen = json.loads(lines[-1])
    answers = seen["requests"] - seen["errors"]
    return Load(
        per_second=answers / seen["seconds"],
        p50_ms=seen["p50_ms"] if answers else math.inf,
        p99_ms=seen["p99_ms"] if answers else math.inf,
        errors=seen["errors"],
        cpu_ms=1000 * cpu_s / max(1, answers),
        pss=pss,
    )


def median(loads: Sequence[Load]) -> Load:
    """Return the medians of several stretches; errors are added up, memory is the most."""
    rates = [one.per_second for one in loads]
    return Load(
        per_second=statistics.median(rates),
        p50_ms=statistics.median(one.p50_ms for one in loads),
        p99_ms=statistics.median(one.p99_ms for one in loads),
        errors=sum(one.errors for one in loads),
        cpu_ms=statistics.median(one.cpu_ms for one in loads),
        pss=max(one.pss for one in loads),
        spread=(min(rates), max(rates)),
    )
