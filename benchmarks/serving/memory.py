"""Whether our server's memory stays flat over many requests and many reloads."""

import hashlib
import urllib.error
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from benchmarks.benchmark import Benchmark
from benchmarks.serving.compare import Row, started
from benchmarks.serving.load import load
from benchmarks.serving.servers import OURS, Running, ServerError, ask
from benchmarks.serving.setup import Section, Setup
from benchmarks.serving.tables import markdown
from serving.runtime.output import whole_file
from serving.runtime.registry import MODEL_FILE
from serving.runtime.seal import SEAL_KEY

REQUESTS = 100_000
RELOADS = 100

_ROW = Row(OURS, "", "tiny")
_RELOADED = Row(OURS, "", "light")
_FLAT = 1.05
_WARM = 0.1
"""The share of all, at the beginning, after which memory must grow no more."""


def memory(setup: Setup) -> Section:
    """PSS after a tenth and at the end: small pictures to a tiny model; reloads of a light one whose file changes."""
    section = Section("Memory of our server")
    rows: list[list[object]] = []
    with started(setup, _ROW) as one:
        first, last = _requests(one, _small_pictures(setup))
    rows.append([f"{REQUESTS} requests", first, last, last / first])
    versions = _versions(setup)
    served = setup.folder / "reloaded" / MODEL_FILE
    served.write_bytes(versions[0])
    with started(setup, _RELOADED, model=served.resolve()) as one:
        try:
            first, last = _reloads(one, served, versions)
            rows.append([f"{RELOADS} reloads", first, last, last / first])
        except urllib.error.HTTPError as error:
            section.failures.append(f"memory over reloads: POST to the repository answered {error}")
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


def _reloads(one: Running, served: Path, versions: Sequence[bytes]) -> tuple[float, float]:
    """Replace the served file and have it loaded, again and again; ServerError when another version answers."""
    base, first = one.url.removesuffix("/predict"), 0.0
    (name,) = ask(f"{base}/v2/models", None, "")["models"]
    for number in range(1, RELOADS + 1):
        content = versions[number % len(versions)]
        with whole_file(served) as partial:
            partial.write_bytes(content)
        ask(f"{base}/v2/repository/models/{name}/load", b"{}", "application/json")
        answering = ask(f"{base}/v2/models/{name}", None, "")["versions"]
        if answering != [hashlib.sha256(content).hexdigest()[:12]]:
            raise ServerError(f"reload {number} changed nothing: the versions {answering} answer")
        if number == round(_WARM * RELOADS):
            first = one.pss()
    return first, one.pss()


def _versions(setup: Setup) -> list[bytes]:
    """Return two versions of the light model that differ in their metadata alone."""
    (setup.folder / "reloaded").mkdir(exist_ok=True)
    versions = []
    for number in range(2):
        model = onnx.load(setup.models[_RELOADED.model])
        metadata = {entry.key: entry.value for entry in model.metadata_props if entry.key != SEAL_KEY}
        onnx.helper.set_model_props(model, metadata | {"bench": str(number)})
        versions.append(model.SerializeToString())
    return versions


def _small_pictures(setup: Setup) -> Path:
    """Write four small JPEGs, which take little to decode, and return their folder."""
    folder = setup.folder / "bodies" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        colors = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(colors).resize((96, 96), Image.Resampling.BICUBIC)
        picture.save(folder / str(number), "JPEG")
    return folder
