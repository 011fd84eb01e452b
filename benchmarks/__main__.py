"""The project's benchmarks: `python -m benchmarks [name ...]` prints a table and writes `.facet/bench.json`."""

import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version

from benchmarks.annotation_chain import annotation_chain
from benchmarks.archive import archive_read, artifact_transfer
from benchmarks.augmentation_presets import augmentation_presets
from benchmarks.benchmark import Benchmark
from benchmarks.crop import crop_cores, crop_loop
from benchmarks.detect_peer import detect_peer
from benchmarks.heatmap import heatmap_speed
from benchmarks.input_pipeline import input_pipeline
from benchmarks.overhead import epoch_compute_share, step_overhead, train_startup
from benchmarks.scale import scale
from benchmarks.serve_latency import serve_latency
from pipelines.environment.settings import load_settings

LIBRARIES = ("kfp", "numpy", "onnxruntime", "torch")
BENCHMARKS: dict[str, Callable[[], list[Benchmark]]] = {
    "step_overhead": step_overhead,
    "artifact_transfer": artifact_transfer,
    "annotation_chain": annotation_chain,
    "archive_read": archive_read,
    "scale": scale,
    "crop_cores": crop_cores,
    "crop_loop": crop_loop,
    "input_pipeline": input_pipeline,
    "augmentation_presets": augmentation_presets,
    "epoch_compute_share": epoch_compute_share,
    "train_startup": train_startup,
    "serve_latency": serve_latency,
    "heatmap": heatmap_speed,
    "detect_peer": detect_peer,
}


def table(results: Sequence[Benchmark]) -> Iterator[str]:
    """The results for people, below a line about the machine and the versions; a dash where nothing is compared."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {versions}"
    yield ""
    yield f"{'benchmark':<28}{'ours':>12}{'baseline':>12}{'ratio':>10}  {'unit':<10}{'bar':<28}holds"
    for result in results:
        baseline, ratio = ("-" if value is None else f"{value:.4g}" for value in (result.baseline, result.ratio))
        figures = f"{result.ours:>12.4g}{baseline:>12}{ratio:>10}"
        yield f"{result.name:<28}{figures}  {result.unit:<10}{result.bar:<28}{'yes' if result.holds else 'NO'}"


def main(names: Sequence[str]) -> int:
    """Runs the named benchmarks, or all; 1 when one of them misses its bar, 2 on an unknown name."""
    unknown = sorted(set(names) - BENCHMARKS.keys())
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    results = [result for name in names or BENCHMARKS for result in BENCHMARKS[name]()]
    for line in table(results):
        print(line)
    target = load_settings().home / "bench.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    records = [{key: value for key, value in asdict(result).items() if value is not None} for result in results]
    target.write_text(json.dumps(records, indent=2) + "\n")
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
