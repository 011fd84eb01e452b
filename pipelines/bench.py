"""The project's benchmarks: `python -m pipelines.bench` prints a table and writes `.facet/bench.json`."""

import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pipelines.settings import load_settings

LIBRARIES = ("kfp", "numpy", "onnxruntime", "torch")
STEPS = 5


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One measurement: our figure, what it is compared with, and whether it holds the bar."""

    name: str
    ours: float
    baseline: float
    ratio: float
    unit: str
    bar: str
    holds: bool


def step_overhead() -> Benchmark:
    """What a KFP step costs on this machine beyond its own work.

    Ours is the time of one step in a chain of steps that do next to nothing; the baseline is a process of its own
    that does the same.
    """
    import kfp
    from kfp import dsl, local

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def add_one(number: int) -> int:
        return number + 1

    @dsl.pipeline(name="chain")
    def chain() -> None:
        number: object = 0
        for _ in range(STEPS):
            number = add_one(number=number).output

    pipeline = kfp.components.load_component_from_text(_compiled(chain))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder)
        started = time.perf_counter()
        pipeline()
        ours = (time.perf_counter() - started) / STEPS
    baseline = statistics.median(_seconds([sys.executable, "-c", "print(0 + 1)"]) for _ in range(STEPS))
    return Benchmark(
        "step_overhead", ours, baseline, ours / baseline, "s", "ours - baseline < 2 s", ours - baseline < 2
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"step_overhead": step_overhead}


def _compiled(pipeline: object) -> str:
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text()


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def table(results: list[Benchmark]) -> Iterator[str]:
    """The results for people, below a line about the machine and the versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {versions}"
    yield ""
    yield f"{'benchmark':<24}{'ours':>12}{'baseline':>12}{'ratio':>10}  {'unit':<8}{'bar':<28}holds"
    for result in results:
        figures = f"{result.ours:>12.4g}{result.baseline:>12.4g}{result.ratio:>10.3g}"
        yield f"{result.name:<24}{figures}  {result.unit:<8}{result.bar:<28}{'yes' if result.holds else 'NO'}"


def main() -> int:
    """Runs all benchmarks; 1 when one of them misses its bar."""
    warnings.simplefilter("ignore")
    results = [benchmark() for benchmark in BENCHMARKS.values()]
    for line in table(results):
        print(line)
    target = load_settings().home / "bench.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
