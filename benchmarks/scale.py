"""Time and memory of the data steps on large data sets, each step in a process of its own."""

import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import simplejpeg

from benchmarks.benchmark import Benchmark
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.label_spaces import label_space

PHOTOS = 200_000
IMAGES = 500_000
PER_PERSON = 7
MEBIBYTE = 2**20


def scale() -> list[Benchmark]:
    """`ingest` on 200,000 small photos in a ZIP; each annotation step on 500,000 images, of which the worst counts."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _photos(folder / "photos.zip")
        read = ("--source", folder / "photos.zip", "--format", "class_folder", "--options", "attribute=mask")
        took, memory = _step("ingest", *read, "--images", folder / "images", "--annotations", folder / "faces.json")
        _annotations(folder / "start.json")
        (folder / "removed.txt").write_text("\n".join(f"{at:06d}.jpg" for at in range(0, IMAGES, 100)))
        steps = [_step(*arguments) for arguments in _annotation_steps(folder)]
    slowest, largest = max(step[0] for step in steps), max(step[1] for step in steps)
    return [
        Benchmark.absolute("ingest_200k_memory", memory, "MiB", "< 1 GiB", memory < 1024),
        Benchmark.absolute("ingest_200k_rate", PHOTOS / took, "images/s", "", True),
        Benchmark.absolute("annotation_steps_500k", slowest, "s", "each < 60 s", slowest < 60),
        Benchmark.absolute("annotation_steps_500k_memory", largest, "MiB", "each < 2 GiB", largest < 2048),
    ]


def _annotation_steps(folder: Path) -> list[tuple[str | Path, ...]]:
    start = folder / "start.json"
    curations = (
        ["sample.ratio=0.5", "sample.label_space=emotion"],
        ["corrections.table=gender_and_mask"],
        ["drop_ages.ranges=[[30,34]]"],
        [f"merge.annotations={start}"],
        [f"sync.removed={folder / 'removed.txt'}"],
        ["drop.reasons=[no_box,duplicate,near_duplicate]"],
    )
    steps: list[tuple[str | Path, ...]] = []
    for number, operations in enumerate(curations):
        given = [text for operation in operations for text in ("--operations", operation)]
        steps.append(("curate", "--annotations", start, "--curated-annotations", folder / f"{number}.json", *given))
    for mode in ("person", "kfold"):
        to = ("--split-annotations", folder / f"{mode}.json", "--label-space", "emotion", "--options", f"mode={mode}")
        steps.append(("split", "--annotations", start, *to))
    return steps


def _step(*arguments: str | Path) -> tuple[float, float]:
    """Seconds and peak MiB of one `facet step`."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pipelines.command.main", "step", *map(str, arguments)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{arguments[0]} failed: {output.read().decode(errors='replace')[-2000:]}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / MEBIBYTE


def _photos(path: Path) -> None:
    """Pictures of 64 x 64 pixels that all differ, seven of each person."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for at in range(PHOTOS):
            cells = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = np.ascontiguousarray(cells.repeat(16, 0).repeat(16, 1))
            name = f"{('with_mask', 'no_mask')[at % 2]}/{at // PER_PERSON:06d}_{at:06d}.jpg"
            archive.writestr(name, simplejpeg.encode_jpeg(picture, 85))


def _annotations(path: Path) -> None:
    """What `ingest` would say of so many photos of faces with a mask, a gender, an age, an emotion and a box."""
    rng = random.Random(0)
    emotions = label_space("emotion").heads[0].labels
    images = []
    for at in range(IMAGES):
        person = at // PER_PERSON
        attributes: dict[str, object] = {
            "mask": "worn",
            "gender": ("male", "female")[person % 2],
            "age": 18 + person % 50,
            "emotion": emotions[at % len(emotions)],
        }
        images.append(
            Image(
                id=at + 1,
                file_name=f"{at:06d}.jpg",
                width=1200,
                height=1600,
                faces=(Face(at + 1, (400.0, 300.0, 420.0, 560.0), attributes),),
                person=f"{person:06d}",
                sha256=f"{rng.getrandbits(256):064x}",
                dhash=f"{rng.getrandbits(128):032x}",
            )
        )
    write_annotations(Annotations(tuple(images)), path)
