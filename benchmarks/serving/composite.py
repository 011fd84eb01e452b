"""A composite, YuNet and two light heads on one face, against a plain handler with OpenCV and two sessions."""

import os
from pathlib import Path

import numpy as np

from benchmarks.benchmark import Benchmark
from benchmarks.serving.load import Load, load, median
from benchmarks.serving.servers import APPS, OURS, SERVERS, VARIANTS, Server, ServerError, ask, running
from benchmarks.serving.setup import Section, Setup
from benchmarks.serving.tables import markdown

WEIGHTS = "weights/yunet/yunet_n_dynamic.onnx"

_PLAIN = Server(
    ("uvicorn", f"{APPS}.naive_composite:app", "--port", "$port", "--workers", "$BENCH_WORKERS", "--no-access-log"),
    "/predict",
)
_CLIENTS = (1, 8)
_NEAR = 8
"""Pixels by which the two boxes of a face may differ."""


def composite(setup: Setup) -> Section:
    """Both answer every face with its box and the probabilities of two models. FACET_PHOTOS names YuNet's folder."""
    section = Section("Composite: YuNet and two heads, one face")
    photos = os.environ.get("FACET_PHOTOS")
    weights = Path(photos or ".", WEIGHTS).resolve()
    if not photos or not weights.exists():
        section.failures.append(f"composite: set FACET_PHOTOS to the folder with {WEIGHTS}; nothing is measured")
        return section
    from benchmarks.serving.models import write_composite  # torch takes seconds

    card = write_composite(setup.folder / "composite", weights, setup.models).resolve()
    heads = [str(setup.models[name].resolve()) for name in ("light", "second")]
    extra = {"BENCH_HEADS": os.pathsep.join(heads), "BENCH_DETECTOR": str(weights)}
    contenders = {
        OURS: (SERVERS[OURS], None, VARIANTS[""]),
        "plain handler": (_PLAIN, setup.environment("naive"), VARIANTS[""] | extra),
        "plain handler, tuned": (_PLAIN, setup.environment("naive"), VARIANTS["tuned"] | extra),
    }
    loads: dict[str, dict[int, list[Load]]] = {name: {clients: [] for clients in _CLIENTS} for name in contenders}
    boxes: dict[str, list[list[float]]] = {}
    for _ in range(setup.rounds):
        for name, (server, environment, variables) in contenders.items():
            folder, first = setup.run / name.replace(" ", "_"), setup.pictures[0].read_bytes()
            with running(server, folder, environment=environment, model=card, body=first, variables=variables) as one:
                if name not in boxes:
                    boxes[name] = [_box(ask(one.url, file.read_bytes(), "image/jpeg")) for file in setup.pictures[:4]]
                load(one, setup.bodies("raw"), clients=8, seconds=1)
                for clients in _CLIENTS:
                    loads[name][clients].append(load(one, setup.bodies("raw"), clients=clients, seconds=setup.seconds))
    far = max(float(np.abs(np.subtract(found, boxes[OURS])).max()) for found in boxes.values())
    if far > _NEAR:
        raise ServerError(f"the composites do not find the same faces: boxes are up to {far:.0f} pixels apart")
    rows: list[list[object]] = []
    for name, by_clients in loads.items():
        cells: list[object] = [name]
        for clients in _CLIENTS:
            one_load = median(by_clients[clients])
            cells += [one_load.per_second, one_load.p50_ms, one_load.p99_ms, one_load.cpu_ms]
        rows.append([*cells, int(sum(one.errors for loads in by_clients.values() for one in loads))])
    columns = [
        f"{clients}: {column}" for clients in _CLIENTS for column in ("requests/s", "p50 ms", "p99 ms", "CPU ms")
    ]
    section.lines = markdown(["", *columns, "errors"], rows)
    rates = {name: median(by_clients[8]).per_second for name, by_clients in loads.items()}
    section.figures = [
        Benchmark.compared("serving_composite", rates[OURS], rates["plain handler"], "requests/s", 1.5),
        Benchmark.compared("serving_composite, tuned", rates[OURS], rates["plain handler, tuned"], "requests/s"),
    ]
    return section


def _box(answer: dict[str, list[dict[str, list[float]]]]) -> list[float]:
    if len(answer["faces"]) != 1:
        raise ServerError(f"expected one face, got {len(answer['faces'])}")
    return answer["faces"][0]["box"]
