"""The project's benchmarks: `python -m benchmarks [name ...]` prints a table and writes `.facet/bench.json`."""

import sys
import warnings
from collections.abc import Callable, Sequence

from benchmarks.annotation_chain import annotation_chain
from benchmarks.archive import archive_read, artifact_transfer
from benchmarks.augmentation_presets import augmentation_presets
from benchmarks.benchmark import Benchmark
from benchmarks.crop import crop_cores, crop_loop
from benchmarks.detect_peer import detect_peer
from benchmarks.heatmap import heatmap_speed
from benchmarks.input_pipeline import input_pipeline
from benchmarks.int8 import int8_speed
from benchmarks.overhead import epoch_compute_share, step_overhead, train_startup
from benchmarks.predict_loop import predict_loop
from benchmarks.records import machine, merge_records, table
from benchmarks.scale import scale
from benchmarks.serve_latency import serve_latency
from pipelines.environment.settings import load_settings

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
    "int8_speed": int8_speed,
    "predict_loop": predict_loop,
}


def main(names: Sequence[str]) -> int:
    """Runs the named benchmarks, or all; 1 when one of them misses its bar, 2 on an unknown name."""
    unknown = sorted(set(names) - BENCHMARKS.keys())
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    results = [result for name in names or BENCHMARKS for result in BENCHMARKS[name]()]
    for line in (machine(), "", *table(results)):
        print(line)
    merge_records(results, load_settings().home / "bench.json")
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
