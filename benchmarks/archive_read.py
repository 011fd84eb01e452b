"""Random reads from the image archive against the same files in folders."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.benchmark import Benchmark, medians, resident_mb, seconds
from components.shared.dataset.archive import ArchiveWriter, ImageArchive

FILES = 20_000
FILE_BYTES = 20_000
READS = 20_000
MANY_READS = 100_000
ENTRIES = 200_000


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
