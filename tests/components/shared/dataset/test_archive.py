import hashlib
import io
import multiprocessing
import os
import pickle
import random
import shutil
import struct
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import pytest

from components.shared.dataset import archive
from components.shared.dataset.archive import ArchiveWriter, ImageArchive, OtherPictureError
from serving.runtime.errors import InputError, NotFoundError


def entries(count=40, seed=0):
    rng = random.Random(seed)
    return {f"people/{i // 7}_얼굴/mask{i % 7}.jpg": rng.randbytes(rng.randrange(0, 3000)) for i in range(count)}


def write(folder, items, **options):
    with ArchiveWriter(folder, **options) as writer:
        for name, data in items.items():
            writer.add(name, data)
    return folder


def test_reads_back_in_any_order_over_several_shards(tmp_path):
    items = entries()
    images = ImageArchive(write(tmp_path / "images", items, shard_bytes=10_000))
    assert len(list((tmp_path / "images").iterdir())) > 3
    assert images.names == tuple(items)
    assert len(images) == len(items)
    assert "people/0_얼굴/mask0.jpg" in images
    assert "none" not in images
    for name in random.Random(1).choices(list(items), k=200):
        assert images.read(name) == items[name]


def test_a_shard_is_not_larger_than_asked_unless_one_image_is(tmp_path):
    items = {"c": b"3" * 5000, "a": b"1" * 400, "b": b"2" * 700, "d": b"4"}
    write(tmp_path / "images", items, shard_bytes=1000)
    shards = sorted((tmp_path / "images").iterdir())
    assert [zipfile.ZipFile(shard).namelist() for shard in shards] == [["c"], ["a"], ["b", "d"]]


def test_same_entries_same_bytes(tmp_path):
    first = write(tmp_path / "first", entries())
    second = write(tmp_path / "elsewhere" / "second", entries())
    with zipfile.ZipFile(first / "images-00000.zip") as opened:
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert (first / "images-00000.zip").read_bytes() == (second / "images-00000.zip").read_bytes()


def test_the_digest_names_the_entries_however_they_are_archived(tmp_path):
    items = entries()
    digest = ImageArchive(write(tmp_path / "a", items)).digest()
    split = ImageArchive(write(tmp_path / "b", dict(reversed(items.items())), shard_bytes=10_000))
    assert split.digest() == digest
    name = next(iter(items))
    changed = ImageArchive(write(tmp_path / "c", items | {name: items[name][:-1] + b"x"}))
    renamed = ImageArchive(write(tmp_path / "d", {f"{key}.x": value for key, value in items.items()}))
    assert len({digest, changed.digest(), renamed.digest()}) == 3


def test_other_tools_open_it(tmp_path):
    items = entries()
    path = write(tmp_path / "images", items) / "images-00000.zip"
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == items
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tqq", str(path)], check=True)


def test_reads_what_other_tools_write(tmp_path):
    (tmp_path / "images").mkdir()
    with zipfile.ZipFile(tmp_path / "images" / "images-00000.zip", "w") as other:
        other.mkdir("folder")
        other.writestr("folder/a.jpg", b"first")
        with other.open("folder/b.jpg", "w", force_zip64=True) as entry:
            entry.write(b"second")
        other.comment = b"made by hand"
    images = ImageArchive(tmp_path / "images")
    assert {name: images.read(name) for name in images.names} == {"folder/a.jpg": b"first", "folder/b.jpg": b"second"}


def test_more_entries_than_a_plain_zip_can_count(tmp_path):
    images = ImageArchive(write(tmp_path / "images", {f"{i}": b"%d" % i for i in range(66_000)}))
    assert len(images) == 66_000
    assert images.read("65999") == b"65999"


def test_entries_beyond_four_gigabytes(tmp_path):
    """The hole between two entries is a sparse file, so nothing of that size is written."""
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "images-00000.zip"
    with zipfile.ZipFile(path, "w") as far:
        far.writestr("near", b"one")
        far.fp.truncate(5 * 2**30)
        far.start_dir = 5 * 2**30
        far.writestr("far", b"two")
    images = ImageArchive(tmp_path / "images")
    assert images.read("far") == b"two"
    assert images.read("near") == b"one"


def read_all(images, names, queue):
    queue.put([images.read(name) for name in names])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_workers_share_an_archive_opened_before(tmp_path, method):
    items = entries(400)
    images = ImageArchive(write(tmp_path / "images", items, shard_bytes=100_000))
    images.read(images.names[0])
    context = multiprocessing.get_context(method)
    orders = [random.Random(seed).sample(images.names, len(images)) for seed in (1, 2)]
    queues = [context.SimpleQueue() for _ in orders]
    workers = [
        context.Process(target=read_all, args=(images, order, queue))
        for order, queue in zip(orders, queues, strict=True)
    ]
    for worker in workers:
        worker.start()
    for order, queue in zip(orders, queues, strict=True):
        assert queue.get() == [items[name] for name in order]
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == 0
    assert images.read(images.names[-1]) == items[images.names[-1]]


def test_threads_share_an_archive(tmp_path):
    items = entries(200)
    images = ImageArchive(write(tmp_path / "images", items))
    wrong = []

    def work(seed):
        for name in random.Random(seed).choices(images.names, k=500):
            if images.read(name) != items[name]:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_pickled_it_is_only_its_path(tmp_path):
    images = ImageArchive(write(tmp_path / "images", entries(400)))
    assert len(pickle.dumps(images)) < 300
    assert pickle.loads(pickle.dumps(images)).read(images.names[3]) == images.read(images.names[3])


def test_reading_leaves_no_open_files(tmp_path):
    folder = write(tmp_path / "images", entries(), shard_bytes=10_000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        ImageArchive(folder).read("people/0_얼굴/mask0.jpg")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_unknown_names_and_missing_folders(tmp_path):
    images = ImageArchive(write(tmp_path / "images", entries()))
    with pytest.raises(NotFoundError, match=r"no image 'none\.jpg'"):
        images.read("none.jpg")
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(NotFoundError, match="no image archive"):
            ImageArchive(folder)


def test_a_lost_shard_is_noticed(tmp_path):
    folder = write(tmp_path / "images", entries(), shard_bytes=10_000)
    (folder / "images-00001.zip").unlink()
    with pytest.raises(InputError, match="an archive is missing"):
        ImageArchive(folder)


def test_every_truncation_is_refused(tmp_path):
    folder = write(tmp_path / "images", entries(10))
    path = folder / "images-00000.zip"
    whole = path.read_bytes()
    for length in [0, 1, 21, *range(100, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cut short"):
            ImageArchive(folder)


@pytest.mark.parametrize("wide", [False, True])
def test_random_damage_is_an_input_error_and_never_wrong_bytes(tmp_path, wide):
    """`wide` has ZIP64 records: an entry far into a sparse file."""
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "images-00000.zip"
    items = entries(6)
    with zipfile.ZipFile(path, "w") as good:
        if wide:
            good.fp.truncate(2**32)
            good.start_dir = 2**32
        for name, data in items.items():
            good.writestr(name, data)
    length = path.stat().st_size
    rng = random.Random(0)
    refused = 0
    with path.open("r+b") as file:
        for _ in range(600):
            at = length - rng.randrange(1, 700)
            file.seek(at)
            old = file.read(1)
            file.seek(at)
            file.write(bytes([rng.randrange(256)]))
            file.flush()
            try:
                images = ImageArchive(tmp_path / "images")
                assert all(images.read(name) == items[name] for name in images.names if name in items)
            except InputError:
                refused += 1
            file.seek(at)
            file.write(old)
    assert refused > 100


def test_a_changed_byte_is_noticed_when_read(tmp_path):
    items = {"a": b"A" * 100, "b": b"B" * 100}
    folder = write(tmp_path / "images", items)
    path = folder / "images-00000.zip"
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"AAAX", 1))
    images = ImageArchive(folder)
    assert images.read("b") == items["b"]
    for _ in range(2):
        with pytest.raises(InputError, match="'a' does not match its checksum"):
            images.read("a")


def test_compressed_encrypted_and_duplicate_entries_are_refused(tmp_path):
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "images-00000.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other:
        other.writestr("small.jpg", b"0" * 100)
    with pytest.raises(InputError, match=r"'small\.jpg' is compressed"):
        ImageArchive(tmp_path / "images")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as other:
        other.writestr("secret.jpg", b"0" * 100)
    raw = bytearray(data.getvalue())
    struct.pack_into("<H", raw, raw.index(b"PK\1\2") + 8, 1)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"'secret\.jpg' is encrypted"):
        ImageArchive(tmp_path / "images")
    write(tmp_path / "one", {"a": b"1"})
    for number in range(2):
        shutil.copy(tmp_path / "one" / "images-00000.zip", tmp_path / "images" / f"images-0000{number}.zip")
    with pytest.raises(InputError, match="'a' occurs twice"):
        ImageArchive(tmp_path / "images")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../b", "folder/", "nul\0", "bad\udcff"])
def test_names_that_no_archive_should_hold(tmp_path, name):
    with ArchiveWriter(tmp_path / "images") as writer:
        writer.add("good", b"1")
        with pytest.raises(InputError):
            writer.add(name, b"2")
        writer.add("also good", b"3")
    images = ImageArchive(tmp_path / "images")
    assert [images.read(name) for name in images.names] == [b"1", b"3"]


def test_duplicate_names_are_refused_across_shards(tmp_path):
    with (
        pytest.raises(InputError, match="'a' is already in the archive"),
        ArchiveWriter(tmp_path / "i", shard_bytes=1) as writer,
    ):
        writer.add("a", b"12")
        writer.add("b", b"34")
        writer.add("a", b"56")
    assert not list(tmp_path.iterdir())


def test_an_exception_leaves_nothing_and_an_old_folder_is_not_overwritten(tmp_path):
    with pytest.raises(RuntimeError), ArchiveWriter(tmp_path / "images") as writer:
        writer.add("a", b"1")
        assert not (tmp_path / "images").exists()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    folder = write(tmp_path / "images", {"a": b"1"})
    with pytest.raises(InputError, match="not empty"):
        write(folder, {"a": b"2"})
    assert ImageArchive(folder).read("a") == b"1"


def test_a_killed_writer_leaves_nothing_that_opens(tmp_path, kill_when_ready):
    program = (
        "import sys, time; from pathlib import Path; from components.shared.dataset.archive import ArchiveWriter\n"
        "with ArchiveWriter(Path(sys.argv[1]), shard_bytes=1000) as writer:\n"
        "    for i in range(20): writer.add(str(i), bytes(300))\n"
        "    print('ready', flush=True); time.sleep(60)\n"
    )
    kill_when_ready(program, tmp_path / "images")
    assert not (tmp_path / "images").exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    with pytest.raises(InputError, match="cut short"):
        ImageArchive(left)
    write(tmp_path / "images", {"a": b"1"})


def test_opening_reads_directories_only_and_is_quick(tmp_path):
    folder = write(tmp_path / "images", {f"{i}": b"" for i in range(20_000)})
    start = time.process_time()
    ImageArchive(folder)
    assert time.process_time() - start < 0.5


def test_one_read_is_one_system_call(tmp_path, monkeypatch):
    items = entries()
    images = ImageArchive(write(tmp_path / "images", items))
    calls = []
    real = os.pread
    monkeypatch.setattr(archive.os, "pread", lambda *a: calls.append(a) or real(*a))
    for name in images.names:
        images.read(name)
    assert len(calls) == len(items)


def test_another_picture_than_the_digest_says_is_refused(tmp_path):
    items = entries(5)
    images = ImageArchive(write(tmp_path / "images", items))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in items.items()}
    first, *others = items
    assert images.read(first) == items[first], "read once without a digest"
    for name in others:
        assert images.read(name, digests[name]) == images.read(name, digests[name]) == items[name]
    for _ in range(2):
        with pytest.raises(OtherPictureError, match=rf"images: '{first}' is another picture .* sha256 differs"):
            images.read(first, digests[others[0]])
    assert images.read(first, digests[first]) == items[first]
