"""Whether our server's memory stays flat over many requests and many reloads."""

import urllib.error
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.benchmark import Benchmark
from benchmarks.serving.compare import Row, started
from benchmarks.serving.load import load
from benchmarks.serving.servers import OURS, Running, ask
from benchmarks.serving.setup import Section, Setup
from benchmarks.serving.tables import markdown

REQUESTS = 100_000
RELOADS = 100

_ROW = Row(OURS, "", "tiny")
_FLAT = 1.05
_WARM = 0.1
"""The share of all, at the beginning, after which memory must grow no more."""


def memory(setup: Setup) -> Section:
    """PSS after the first tenth and at the end, of requests with small pictures to a tiny model, and of reloads."""
    section = Section("Memory of our server")
    rows: list[list[object]] = []
    with started(setup, _ROW) as one:
        first, last = _requests(one, _small_pictures(setup))
    rows.append([f"{REQUESTS} requests", first, last, last / first])
    with started(setup, _ROW) as one:
        base = one.url.removesuffix("/predict")
        try:
            first, last = _reloads(one, f"{base}/v2/repository/models/{_ROW.model}/load")
            rows.append([f"{RELOADS} reloads", first, last, last / first])
        except urllib.error.HTTPError as error:
            section.failures.append(f"memory over reloads: POST /v2/repository/models/.../load answered {error}")
    section.lines = markdown(["", "after a tenth, MiB", "at the end, MiB", "ratio"], rows)
    section.figures = [
        Benchmark.absolute(f"serving_memory: {name}", float(ratio), "ratio", f"<= {_FLAT}", float(ratio) <= _FLAT)
        for name, _, _, ratio in rows
        if isinstance(name, str) and isinstance(ratio, float)
    ]
    return section


def _requests(one: Running, bodies: Path) -> tuple[float, float]:
    answered, first = 0.0, 0.0
    while answered < REQUESTS:
        seconds = 5
        answered += seconds * load(one, bodies, clients=8, seconds=seconds).per_second
        if not first and answered >= _WARM * REQUESTS:
            first = one.pss()
    return first, one.pss()


def _reloads(one: Running, url: str) -> tuple[float, float]:
    first = 0.0
    for number in range(RELOADS):
        ask(url, b"{}", "application/json")
        if number + 1 == round(_WARM * RELOADS):
            first = one.pss()
    return first, one.pss()


def _small_pictures(setup: Setup) -> Path:
    """Write four small JPEGs, which take little to decode, and return their folder."""
    folder = setup.folder / "bodies" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        colors = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(colors).resize((96, 96), Image.Resampling.BICUBIC)
        picture.save(folder / str(number), "JPEG")
    return folder
