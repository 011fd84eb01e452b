"""The image archive against the same files in folders: random reads, and the way to S3 and back."""

import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.benchmark import Benchmark, medians, resident_mb, seconds
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from pipelines.environment.settings import load_settings
from pipelines.local.stack import local_stack
from serving.runtime.s3 import s3_client
from serving.runtime.storage import Location, make_bucket

FILES = 20_000
FILE_BYTES = 20_000
READS = 20_000
MANY_READS = 100_000
ENTRIES = 200_000
TRANSFERRED = 2_000


def archive_read() -> list[Benchmark]:
    """Speed of random reads (files in the page cache on both sides), growth of memory, time to open a large archive."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder, archive = Path(scratch, "files"), Path(scratch, "archive")
        names = [f"{at % 100:02d}/{at:06d}.jpg" for at in range(FILES)]
        content = rng.integers(0, 256, FILE_BYTES, dtype=np.uint8).tobytes()
        with ArchiveWriter(archive) as writer:
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
                writer.add(name, content)
        images = ImageArchive(archive)
        drawn = [names[at] for at in rng.integers(0, FILES, READS)]
        for name in names:  # the first read of an entry also checks its checksum
            images.read(name)

        def ours() -> None:
            for name in drawn:
                images.read(name)

        def loose() -> None:
            for name in drawn:
                (folder / name).read_bytes()

        here, there = medians(ours, loose, repeats=5)
        before = resident_mb()
        for _ in range(MANY_READS // READS):
            ours()
        grown = resident_mb() - before
        shutil.rmtree(folder)
        opened = _open_many(Path(scratch, "many"))
    return [
        Benchmark.compared("archive_read", READS / here, READS / there, "reads/s", 1),
        Benchmark.absolute("archive_read_memory", grown, "MB", "grows < 5 MB", grown < 5),
        Benchmark.absolute("archive_open", opened, "s", f"{ENTRIES:,} in < 2 s", opened < 2),
    ]


def _open_many(folder: Path) -> float:
    with ArchiveWriter(folder) as writer:
        for at in range(ENTRIES):
            writer.add(f"person{at // 7:06d}/{at % 7}.jpg", b"x")
    return seconds(lambda: ImageArchive(folder))


def artifact_transfer() -> list[Benchmark]:
    """A data set as KFP's launcher moves artifacts: file after file, one request at a time.

    Ours is the image archive, the baseline a folder with the same 2,000 images; both there and back.
    """
    rng = np.random.default_rng(0)
    with (
        tempfile.TemporaryDirectory() as scratch,
        local_stack(load_settings().home, {**os.environ, "MLFLOW_TRACKING_URI": "unused"}) as stack,
        patch.dict(os.environ, stack.environment),
    ):
        make_bucket("bench")
        folder, archive = Path(scratch, "files"), Path(scratch, "archive")
        folder.mkdir()
        with ArchiveWriter(archive) as writer:
            for at in range(TRANSFERRED):
                data = rng.integers(0, 256, FILE_BYTES, dtype=np.uint8).tobytes()
                (folder / f"{at:04d}.jpg").write_bytes(data)
                writer.add(f"{at:04d}.jpg", data)
        here, there = medians(lambda: _there_and_back(archive), lambda: _there_and_back(folder), repeats=3)
        _clear()
    return [Benchmark.compared("artifact_transfer", here, there, "s", 20)]


def _there_and_back(folder: Path) -> None:
    client = s3_client()
    for file in sorted(folder.iterdir()):
        with file.open("rb") as content:
            client.put_object(Bucket="bench", Key=f"{folder.name}/{file.name}", Body=content)
    with tempfile.TemporaryDirectory() as target:
        for entry in Location(f"s3://bench/{folder.name}").list():
            with Path(target, entry.path).open("wb") as copy:
                shutil.copyfileobj(client.get_object(Bucket="bench", Key=f"{folder.name}/{entry.path}")["Body"], copy)


def _clear() -> None:
    bench = Location("s3://bench")
    for entry in bench.list():
        bench.delete(entry.path)
    s3_client().delete_bucket(Bucket="bench")
