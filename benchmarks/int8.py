"""Models in int8 against the same in float32: size, CPU time, and macro F1."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.benchmark import Benchmark
from components.quantize.comparison import compare
from components.quantize.faces import LabeledFaces, batches
from components.quantize.precision import to_int8
from components.quantize.quantize import quantize
from components.shared.dataset.label_spaces import label_space
from components.shared.models.graph_speed import cpu_seconds
from components.shared.models.network import HeadProbabilities, build_network
from components.shared.models.spec import resolve_model
from components.shared.models.trace import trace
from pipelines.environment.settings import load_settings
from serving.runtime.card import ClassificationCard, Normalization
from serving.runtime.load import load_model
from serving.runtime.machine import usable_cpus
from serving.runtime.registry import MODEL_FILE

RUN = "mask3"
FASTER = 2.5
F1_DROP = 0.01
_REPEATS = {1: 51, 8: 15}
_SIDES = (128, 224)
_NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def int8_speed() -> list[Benchmark]:
    """The classifier of the local run `mask3` in int8 against fp32, and ResNet-18 with random weights.

    CPU time on real faces, medians in turns: a face alone and 8 at a time, in one thread and in all. The bar is on
    one thread, also for a face alone, as `predict` computes each. Macro F1 is of the test split, which calibration does
    not read. Without that run only ResNet-18 is measured.
    """
    return [*_trained(load_settings().home / "runs" / RUN), *(one for side in _SIDES for one in _resnet(side))]


def _trained(run: Path) -> list[Benchmark]:
    model, images, split = run / "export-onnx/model", run / "ingest/images", run / "split/split_annotations"
    if not (model / MODEL_FILE).exists():
        print(f"int8_speed: there is no run {run}; make it by `facet run -c {RUN}`", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as folder:
        result = quantize(model, images, split, Path(folder, "int8"), Path(folder, "report.html"))
        graphs = [Path(one, MODEL_FILE).read_bytes() for one in (model, Path(folder, "int8"))]
    card = load_model(str(model)).card
    assert isinstance(card, ClassificationCard)
    faces = LabeledFaces(images, split, card)
    test = [pixels for pixels, _ in faces.cut(faces.of_split("test"))]
    scores = compare(graphs[0], graphs[1], faces.space, batches(faces.cut(faces.of_split("test")), 8)).scores
    fp32, int8 = (one.macro_f1 for one in scores)
    bar = f"at most {F1_DROP} below"
    name = f"int8_speed {RUN}"
    size = [one / 1e6 for one in result.sizes]
    return [
        *_times(name, graphs, np.stack(test[:8]), FASTER if _has_vnni() else 0),
        Benchmark.compared(f"{name}: file", size[1], size[0], "MB"),
        Benchmark(f"{name}: macro F1", int8, fp32, int8 / fp32, "macro F1", bar, fp32 - int8 <= F1_DROP),
    ]


def _resnet(side: int) -> list[Benchmark]:
    heads = label_space("mask").heads
    network = build_network(resolve_model("resnet18"), heads, _NORMALIZATION, load_pretrained=False).eval()
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    model = trace(HeadProbabilities(network), example, ["mask"], {0: torch.export.Dim("batch")})
    noise = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    graphs = [model, to_int8(model, ["mask"], noise)]
    return _times(f"int8_speed ResNet-18 {side}", [graph.SerializeToString() for graph in graphs], noise, 0)


def _times(name: str, graphs: list[bytes], images: NDArray[np.uint8], least: float) -> list[Benchmark]:
    found = []
    for threads in sorted({1, usable_cpus()}):
        for batch, repeats in _REPEATS.items():
            fp32, int8 = cpu_seconds(graphs, images[:batch], threads=threads, runs=repeats)
            what = f"{name}: {batch} at a time, {threads} thread{'s' if threads > 1 else ''}"
            ours, theirs = 1000 * int8 / batch, 1000 * fp32 / batch
            found.append(Benchmark.compared(what, ours, theirs, "ms CPU/face", least if threads == 1 else 0))
    return found


def _has_vnni() -> bool:
    """Tell whether the CPU multiplies bytes by VNNI, where the system says so."""
    information = Path("/proc/cpuinfo")
    return information.exists() and "_vnni" in information.read_text()
