"""What a KFP step costs on this machine beyond its own work."""

import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.benchmark import Benchmark, seconds

STEPS = 5


def step_overhead() -> list[Benchmark]:
    """Ours is one step in a chain of steps that do next to nothing; the baseline is a process that does the same."""
    import kfp
    from kfp import compiler, dsl, local

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def add_one(number: int) -> int:
        return number + 1

    @dsl.pipeline(name="chain")
    def chain() -> None:
        number: object = 0
        for _ in range(STEPS):
            number = add_one(number=number).output

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        compiler.Compiler().compile(chain, str(file := Path(folder, "chain.yaml")))
        pipeline = kfp.components.load_component_from_text(file.read_text())
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder)
        started = time.perf_counter()
        pipeline()
        ours = (time.perf_counter() - started) / STEPS
    command = [sys.executable, "-c", "print(0 + 1)"]
    baseline = statistics.median(
        seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(STEPS)
    )
    holds = ours - baseline < 2
    return [Benchmark("step_overhead", ours, baseline, ours / baseline, "s", "ours - baseline < 2 s", holds)]
