"""A data set to S3 and back, as KFP's launcher moves artifacts: file after file, one request at a time."""

import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.benchmark import Benchmark, medians
from components.shared.dataset.archive import ArchiveWriter
from pipelines.environment.settings import load_settings
from pipelines.local.stack import local_stack
from serving.runtime.s3 import s3_client
from serving.runtime.storage import Location, make_bucket

FILES = 2_000
FILE_BYTES = 20_000


def artifact_transfer() -> list[Benchmark]:
    """Ours is the image archive, the baseline a folder with the same 2,000 images; both there and back."""
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
            for at in range(FILES):
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
                for block in client.get_object(Bucket="bench", Key=f"{folder.name}/{entry.path}")["Body"].iter_chunks(
                    2**20
                ):
                    copy.write(block)


def _clear() -> None:
    bench = Location("s3://bench")
    for entry in bench.list():
        bench.delete(entry.path)
    s3_client().delete_bucket(Bucket="bench")
