"""The order of reading, how much is read, and how much of it is in memory."""

import os
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_trees import KINDS, contents, pack, tree, write_folder, write_tar, write_zip

from components.ingest.sources import members, range_file, spans, tar_members
from components.ingest.sources.range_file import RangeFile
from components.ingest.sources.source import Source
from serving.runtime.storage import Location, upload


def test_the_order_is_that_of_the_places(tmp_path):
    raw = write_folder(tmp_path / "raw", {"z.jpg": b"", "b.jpg": b""})
    for kind in ("stored.zip", ".tar", ".tar.gz"):
        pack(
            raw / kind.strip(".").replace(".", ""), {name: name.encode() for name in ("9.jpg", "5.txt", "1.jpg")}, kind
        )
    source = Source(str(raw))
    paths = [path for path, _ in source.stream([*reversed(source.paths), "z.jpg"])]
    archives = [f"{name}/{member}" for name in ("storedzip", "tar", "targz") for member in ("9.jpg", "5.txt", "1.jpg")]
    assert paths == ["b.jpg", "z.jpg", *archives]
    assert [path for path, _ in source.stream(["targz/1.jpg", "targz/5.txt"])] == ["targz/5.txt", "targz/1.jpg"]
    assert list(source.stream([])) == []


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_memory_stays_bounded(tmp_path, bucket, monkeypatch, kind, place):
    """24 MiB of members pass through, a few MiB are in memory."""
    monkeypatch.setattr(spans, "AHEAD_BYTES", 2 * 2**20)
    monkeypatch.setattr(spans, "BATCH_BYTES", 2**19)
    monkeypatch.setattr(range_file, "PART_BYTES", 2**19)
    monkeypatch.setattr(tar_members, "MAX_KEPT_BYTES", 2**20)
    block = os.urandom(2**17)
    files = {f"{number}.{'json' if number % 2 else 'jpg'}": block[number:] + bytes(2**17) for number in range(96)}
    file = pack(tmp_path / "all", files, kind)
    uri = str(file)
    if place == "s3":
        uri = f"s3://{bucket}/{file.name}"
        upload(file, uri)
        Location(uri).exists()
    tracemalloc.start()
    try:
        source = Source(uri)
        count = sum(data == files[path] for path, data in source.stream(source.paths))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 96
    assert peak < 10 * 2**20


def test_nothing_is_written_to_the_disk(shapes, bucket, monkeypatch, tmp_path):
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for shape in KINDS:
        uri = f"s3://{bucket}/{shapes[shape].name}"
        upload(shapes[shape], uri)
        assert contents(Source(uri)) == tree()
    assert not list(tmp_path.iterdir())


def count_reads(monkeypatch):
    reads = []
    real = Location.read_range

    def read_range(self, offset, length, path=""):
        reads.append((offset, length))
        return real(self, offset, length, path)

    monkeypatch.setattr(Location, "read_range", read_range)
    return reads


def test_a_zip_is_read_at_random_and_neighbors_together(tmp_path, monkeypatch):
    files = {f"{number:04}.jpg": os.urandom(20000) for number in range(1000)}
    file = write_zip(tmp_path / "a.zip", files)
    reads = count_reads(monkeypatch)
    source = Source(str(file))
    assert sum(length for _, length in reads) < 200_000 and len(reads) == 2
    assert source.read("0500.jpg") == files["0500.jpg"]
    assert len(reads) == 3 and reads[-1][1] < 21000
    reads.clear()
    assert contents(source) == files
    assert len(reads) < 10
    reads.clear()
    assert len(list(source.stream(["0000.jpg", "0999.jpg"]))) == 2
    assert sum(length for _, length in reads) < 42000


def test_a_plain_tar_is_leapt_through(tmp_path, monkeypatch):
    file = write_tar(tmp_path / "a.tar", {f"{number}.jpg": bytes(4 * 2**20) for number in range(8)})
    reads = count_reads(monkeypatch)
    source = Source(str(file))
    assert sum(length for _, length in reads) < 8 * 2**20
    reads.clear()
    assert len(source.read("3.jpg")) == 4 * 2**20
    assert reads == [(3 * (4 * 2**20 + 512) + 512, 4 * 2**20)]


def test_texts_of_a_compressed_tar_are_kept(tmp_path, monkeypatch):
    files = {"1.jpg": os.urandom(3 * 2**20), "labels.json": b"{}" * 1000, "big.txt": b"x" * 3000, "2.jpg": b"2"}
    file = write_tar(tmp_path / "a.tgz", files, "gz")
    monkeypatch.setattr(tar_members, "MAX_KEPT_BYTES", 2500)
    reads = count_reads(monkeypatch)
    source = Source(str(file))
    reads.clear()
    assert source.read("labels.json") == files["labels.json"]
    assert not reads
    assert source.read("big.txt") == files["big.txt"]
    assert reads
    assert contents(source) == files
    reads.clear()
    assert list(source.stream(["labels.json"])) == [("labels.json", files["labels.json"])]
    assert not reads


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2100), st.integers(0, 700)), max_size=12))
def test_a_range_file_is_the_file(tmp_path, moves):
    data = bytes(range(256)) * 8
    (tmp_path / "f").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_file, "FIRST_BYTES", 50)
        patch.setattr(range_file, "PART_BYTES", 200)
        with RangeFile(Location(str(tmp_path / "f")), len(data)) as file:
            for place, length in moves:
                file.seek(place)
                got = b"".join(iter(lambda file=file, end=place + length: file.read(end - file.tell()), b""))
                assert got == data[place : place + length]


def test_members_are_small():
    """A listing of half a million names must fit into memory."""
    assert not hasattr(members.Member(b"", 0), "__dict__")
    assert replace(members.Member(b"a", 1), fault="x") == members.Member(b"a", 1, "x")
