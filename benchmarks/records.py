"""Results for people and for programs: a table, and `.facet/bench.json`."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.benchmark import Benchmark
from serving.runtime.output import whole_file

LIBRARIES = ("kfp", "numpy", "onnxruntime", "torch")


def machine() -> str:
    """Return one line about this machine and the versions of libraries."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {versions}"


def table(results: Sequence[Benchmark]) -> Iterator[str]:
    """Yield the lines of a table of results; a dash where nothing is compared."""
    wide = max([28, *(len(result.name) + 2 for result in results)])
    yield f"{'benchmark':<{wide}}{'ours':>12}{'baseline':>12}{'ratio':>10}  {'unit':<12}{'bar':<28}holds"
    for result in results:
        baseline, ratio = ("-" if value is None else f"{value:.4g}" for value in (result.baseline, result.ratio))
        figures = f"{result.ours:>12.4g}{baseline:>12}{ratio:>10}"
        yield f"{result.name:<{wide}}{figures}  {result.unit:<12}{result.bar:<28}{'yes' if result.holds else 'NO'}"


def merge_records(results: Sequence[Benchmark], file: Path) -> None:
    """Write results into a JSON list; those of other names that it has stay.

    Entries that are None are left out.
    """
    names = {result.name for result in results}
    before = json.loads(file.read_text()) if file.exists() else []
    kept = [record for record in before if record["name"] not in names]
    added = [{key: value for key, value in asdict(result).items() if value is not None} for result in results]
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as partial:
        partial.write_text(json.dumps([*kept, *added], indent=2) + "\n")
