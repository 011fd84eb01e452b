import hashlib
import io
import json
import os
import shutil
import socket
import tarfile
import threading
import tracemalloc
import unicodedata
import uuid
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from components.ingest import members, range_file, spans, tar_members
from components.ingest.ingest import ingest
from components.ingest.names import decode_names, logical_name
from components.ingest.range_file import RangeFile
from components.ingest.source import Source
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from serving.runtime import s3 as s3_module
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import Location, make_bucket, s3_client, upload

KINDS = ("stored.zip", "deflated.zip", ".tar", ".tar.gz", ".tgz")


def picture(seed=0, kind="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 20, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def nfd(text):
    return unicodedata.normalize("NFD", text)


class RawZipInfo(zipfile.ZipInfo):
    """A member whose name is written as given bytes, with or without the flag that says UTF-8."""

    raw = b""
    raw_flags = 0

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.raw, self.raw_flags


def write_zip(file, tree, compression=zipfile.ZIP_STORED, flags=0):
    """Write members in the given order; a name in bytes is written as it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for number, (name, data) in enumerate(tree.items()):
            info = RawZipInfo(f"{number}")
            info.raw = name if isinstance(name, bytes) else name.encode()
            info.raw_flags = flags if isinstance(name, bytes) else 0x800
            info.compress_type = compression
            archive.writestr(info, data)
    return file


def write_tar(file, tree, kind="", **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, f"w:{kind}", **options) as archive:
        for name, data in tree.items():
            info = tarfile.TarInfo(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def write_folder(folder, tree):
    for name, data in tree.items():
        file = Path(os.fsdecode(os.fsencode(folder) + b"/" + (name if isinstance(name, bytes) else name.encode())))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def pack(file, tree, kind):
    """Write a tree as one archive of a kind; `file` has no suffix."""
    target = file.with_name(file.name + "." + kind.rpartition(".")[2].replace("gz", "tar.gz").replace("ttar.", "t"))
    if kind.endswith("zip"):
        return write_zip(target, tree, zipfile.ZIP_STORED if kind == "stored.zip" else zipfile.ZIP_DEFLATED)
    return write_tar(target, tree, "gz" if "gz" in kind else "")


@pytest.fixture
def bucket(s3):
    name = f"t{uuid.uuid4().hex}"
    make_bucket(name)
    return name


def contents(source):
    return dict(source.stream(source.paths))


# --- the same tree in every shape -----------------------------------------------------------------------------------


def tree():
    """Class folders with a manifest, texts, junk and odd names."""
    files = {f"{split}/{mood}/{number:02}.jpg": picture(10 * len(mood) + number)
             for split in ("train", "test") for mood in ("기쁨", "상처") for number in range(4)}  # fmt: skip
    files |= {
        "train/기쁨/스포츠 관람 & 레저.PNG": picture(99, "PNG"),
        "train/기쁨/broken.jpg": b"no image",
        "train/기쁨/._00.jpg": b"twin",
        "__MACOSX/train/기쁨/._00.jpg": b"twin",
        ".DS_Store": b"x",
        "train/.ipynb_checkpoints/00.jpg": picture(5),
        "labels/기쁨.json": json.dumps([{"filename": "한글"}], ensure_ascii=False).encode("cp949"),
        "notes.txt": b"",
        "manifest.csv": b"path,emotion,xmin,ymin,xmax,ymax\n" + "train/기쁨/00.jpg,기쁨,1,2,9,8\n".encode(),
    }
    return files


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """The tree as a folder, as single archives, and as folders whose first part is an archive."""
    top = tmp_path_factory.mktemp("shapes")
    files = tree()
    backwards = dict(reversed(files.items()))
    found = {"folder": write_folder(top / "folder", files)}
    for kind in KINDS:
        found[kind] = pack(top / "single" / kind.replace(".", "") / "all", backwards, kind)
        inner = {name.removeprefix("train/"): data for name, data in backwards.items() if name.startswith("train/")}
        rest = {name: data for name, data in files.items() if not name.startswith("train/")}
        beside = write_folder(top / f"beside-{kind}", rest)
        pack(beside / "train", inner, kind)
        found[f"beside {kind}"] = beside
    return found


SHAPES = [*KINDS, *(f"beside {kind}" for kind in KINDS)]


@pytest.mark.parametrize("shape", ["folder", *SHAPES])
def test_names_and_bytes_are_those_of_the_folder(shapes, shape):
    files = tree()
    source = Source(str(shapes[shape]))
    assert source.paths == tuple(sorted(files))
    assert contents(source) == files
    assert {path: source.read(path) for path in source.paths} == files
    assert not source.dropped.counts and not source.skipped.counts
    assert all(source.original(path) is None for path in source.paths)


def facts(out):
    """The annotations but for what names the source."""
    data = read_annotations(out / "annotations.json")
    images = ImageArchive(out / "images")
    assert all(hashlib.sha256(images.read(image.file_name)).hexdigest() == image.sha256 for image in data.images)
    return data.images, {key: value for key, value in data.info.items() if key != "source"}, sorted(images.names)


def run(uri, out, **options):
    ingest(str(uri), out / "images", out / "annotations.json", **options)
    return facts(out)


FORMATS = {
    "class_folder": {"format": "class_folder", "options": {"attribute": "emotion", "max_dropped": 0.2}},
    "manifest": {"format": "manifest"},
}


@pytest.fixture(scope="module")
def of_the_folder(shapes, tmp_path_factory):
    return {name: run(shapes["folder"], tmp_path_factory.mktemp(name), **FORMATS[name]) for name in FORMATS}


@pytest.mark.parametrize("shape", SHAPES)
def test_ingest_gives_the_same_from_every_shape(shapes, shape, of_the_folder, tmp_path):
    for name, options in FORMATS.items():
        assert run(shapes[shape], tmp_path / name, **options) == of_the_folder[name]
    images, info, _ = of_the_folder["class_folder"]
    assert len(images) == 17 and info["dropped"] == {"not_an_image": 1}
    assert info["skipped"] == {"hidden": 4, "not_an_image_name": 3}


def test_ingest_gives_the_same_from_s3(shapes, of_the_folder, tmp_path, bucket):
    for number, (shape, path) in enumerate(shapes.items()):
        uri = f"s3://{bucket}/{number}/{path.name if path.is_file() else ''}".rstrip("/")
        upload(path, uri)
        assert contents(Source(uri)) == tree(), shape
        if shape in ("stored.zip", "deflated.zip", ".tar.gz", "beside .tar"):
            assert run(uri, tmp_path / str(number), **FORMATS["class_folder"]) == of_the_folder["class_folder"], shape


def test_bytes_do_not_depend_on_workers(shapes, tmp_path):
    for shape in ("deflated.zip", ".tgz", "beside .tar"):
        for workers in (1, 5):
            run(shapes[shape], tmp_path / shape / str(workers), workers=workers, **FORMATS["class_folder"])
        one, many = (
            {file.name: file.read_bytes() for file in (tmp_path / shape / workers).rglob("*") if file.is_file()}
            for workers in ("1", "5")
        )
        assert one == many and len(one) == 2


PARTS = st.text(alphabet="aZ0 _-.가힣é", min_size=1, max_size=6).map(lambda s: f"x{unicodedata.normalize('NFC', s)}")
TREES = st.dictionaries(
    st.tuples(PARTS, PARTS).map("/".join), st.binary(max_size=300) | st.integers(0, 9).map(lambda n: bytes(n * 7000)),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, kind=st.sampled_from(KINDS), data=st.data())
def test_any_tree_comes_back_from_any_archive(tree, kind, data, tmp_path):
    top = tmp_path / uuid.uuid4().hex
    source = Source(str(pack(top / "all", tree, kind)))
    assert source.paths == tuple(sorted(tree))
    assert contents(source) == tree
    wanted = data.draw(st.lists(st.sampled_from(sorted(tree)), unique=True))
    given_back = list(source.stream(wanted))
    assert dict(given_back) == {path: tree[path] for path in wanted} and len(given_back) == len(wanted)
    shutil.rmtree(top)


@pytest.mark.parametrize("options", [{"format": tarfile.USTAR_FORMAT}, {"format": tarfile.GNU_FORMAT}, {}])
def test_tar_dialects_and_long_names(tmp_path, options):
    name = (
        "폴더" * 10 + "/" + "사진" * 12 + ".jpg"
        if options.get("format") == tarfile.USTAR_FORMAT
        else "긴" * 90 + ".jpg"
    )
    files = {f"./{name}": b"long", "short.jpg": b"short"}
    write_tar(tmp_path / "a.tar", files, **options)
    source = Source(str(tmp_path / "a.tar"))
    assert contents(source) == {name: b"long", "short.jpg": b"short"}
    assert source.original(name) == f"./{name}"


@pytest.mark.parametrize("front", [b"", b"#!/bin/sh\n"])
def test_a_zip_with_a_directory_for_many_members(tmp_path, monkeypatch, front):
    """As written for more than 65,535 members; also with something in front, as in an archive that unpacks itself."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    files = {f"{number}.jpg": b"%d" % number for number in range(5)}
    data = bytearray(write_zip(tmp_path / "a.zip", files).read_bytes())
    assert b"PK\6\6" in data
    end = data.index(b"PK\5\6")
    data[end + 8 : end + 20] = b"\xff" * 12
    (tmp_path / "a.zip").write_bytes(front + data)
    assert contents(Source(str(tmp_path / "a.zip"))) == files


def test_zip64_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("a.jpg", "w", force_zip64=True) as member:
        member.write(b"x" * 1000)
    # The directory, too, states its sizes in the field for large files.
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    field = b"\1\0\x10\0" + (1000).to_bytes(8, "little") * 2
    data[at + 20 : at + 28] = b"\xff" * 8
    data[at + 30 : at + 32] = len(field).to_bytes(2, "little")
    data[end + 12 : end + 16] = (end - at + len(field)).to_bytes(4, "little")
    data[end:end] = field
    (tmp_path / "a.zip").write_bytes(data)
    assert zipfile.ZipFile(tmp_path / "a.zip").read("a.jpg") == b"x" * 1000
    assert contents(Source(str(tmp_path / "a.zip"))) == {"a.jpg": b"x" * 1000}


# --- names ----------------------------------------------------------------------------------------------------------

KOREAN = "기쁨/한글 사진_남_30_기쁨.jpg"


@pytest.mark.parametrize("flags", [0, 0x800])
@pytest.mark.parametrize(
    ("raw", "original"),
    [
        (KOREAN.encode(), None),
        (nfd(KOREAN).encode(), nfd(KOREAN)),
        (KOREAN.encode("cp949"), None),
        (KOREAN.encode("cp949").replace(b"/", b"\\"), None),
    ],
    ids=["nfc", "nfd", "cp949", "backslash"],
)
def test_korean_names_in_a_zip(tmp_path, raw, original, flags):
    write_zip(tmp_path / "a.zip", {raw: b"x"}, flags=flags)
    source = Source(str(tmp_path / "a.zip"))
    assert source.paths == (KOREAN,) and source.read(KOREAN) == b"x"
    assert source.original(KOREAN) == original


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_korean_names_in_a_tar(tmp_path, encoding, dialect):
    write_tar(tmp_path / "a.tar", {KOREAN.encode(encoding): b"x"}, format=dialect)
    assert contents(Source(str(tmp_path / "a.tar"))) == {KOREAN: b"x"}


def test_korean_names_on_the_disk(tmp_path):
    write_folder(
        tmp_path / "raw",
        {
            b"utf8-" + "기쁨".encode() + b"/" + "사진1.jpg".encode("cp949"): b"1",
            nfd("기쁨/사진2.jpg").encode(): b"2",
            "슬픔/사진3.jpg".encode("cp949"): b"3",
        },
    )
    write_zip(tmp_path / "raw" / os.fsdecode("묶음.zip".encode("cp949")), {"사진4.jpg".encode("cp949"): b"4"})
    write_zip(tmp_path / "raw" / nfd("소리.ZIP"), {nfd("사진5.jpg").encode(): b"5"})
    source = Source(str(tmp_path / "raw"))
    assert contents(source) == {
        "utf8-기쁨/사진1.jpg": b"1",
        "기쁨/사진2.jpg": b"2",
        "슬픔/사진3.jpg": b"3",
        "묶음/사진4.jpg": b"4",
        "소리/사진5.jpg": b"5",
    }
    assert source.original("기쁨/사진2.jpg") == nfd("기쁨/사진2.jpg")
    assert source.original("소리/사진5.jpg") == nfd("소리/사진5.jpg")
    assert source.original("슬픔/사진3.jpg") is None


def test_the_original_name_is_kept_in_the_annotations(tmp_path):
    write_folder(tmp_path / "raw", {nfd("기쁨/사진.jpg").encode(): picture(), "기쁨/other.jpg": picture(1)})
    images, _, _ = run(tmp_path / "raw", tmp_path / "out", format="class_folder", options={"attribute": "emotion"})
    assert {image.file_name: image.source for image in images} == {
        "기쁨/other.jpg": None,
        "기쁨/사진.jpg": nfd("기쁨/사진.jpg"),
    }


@pytest.mark.parametrize(
    ("raws", "names"),
    [
        ([b"a.jpg"], ["a.jpg"]),
        (["호.jpg".encode("cp949")], ["ȣ.jpg"]),
        (["호.jpg".encode("cp949"), "기쁨".encode("cp949")], ["호.jpg", "기쁨"]),
        (["é.jpg".encode(), "기쁨".encode()], ["é.jpg", "기쁨"]),
        (["기쁨".encode(), "기쁨".encode("cp949")], ["기쁨", "기쁨"]),
        ([b"caf\xe9.jpg", "기쁨".encode()], [None, "기쁨"]),
        ([b"\xff\xfe.jpg"], [None]),
        (["기쁨/".encode() + "호".encode("cp949"), b"\xb1\xe2"], ["기쁨/호", "기"]),
    ],
)
def test_names_are_decoded_together(raws, names):
    assert decode_names((raw, False) for raw in raws) == names


def test_a_promise_of_utf8_is_believed():
    raws = [("é".encode(), True), ("기쁨".encode("cp949"), False)]
    assert decode_names(raws) == ["é", "기쁨"]


@given(st.lists(st.text(alphabet=[chr(code) for code in range(0xAC00, 0xD7A4, 7)], min_size=2, max_size=6), min_size=3))
def test_korean_in_cp949_is_never_mojibake(words):
    """Only Hangul comes out, unless every single name is letters of two bytes in UTF-8 as well."""
    try:
        raws = [(f"{word}_남_30.jpg".encode("cp949"), False) for word in words]
    except UnicodeEncodeError:
        return
    assert decode_names(raws) == [f"{word}_남_30.jpg" for word in words]


@given(st.text(alphabet="a./\\:\0é", max_size=10))
def test_a_logical_name_stays_inside(name):
    logical = logical_name(name)
    if logical is not None:
        top = Path("/top")
        assert top in Path(os.path.normpath(top / logical)).parents
        assert logical_name(logical) == logical


# --- which names count ----------------------------------------------------------------------------------------------


def test_of_equal_names_the_first_stays(tmp_path):
    raw = write_folder(
        tmp_path / "raw",
        {"faces/1.jpg": b"loose", nfd("사진.jpg").encode(): b"decomposed", "사진.jpg".encode(): b"composed"},
    )
    write_zip(
        raw / "faces.zip", {"1.jpg": b"other!", "2.jpg": b"zip", b"./2.jpg": b"ZIP", "n.txt": b"1", b"./n.txt": b""}
    )
    write_tar(raw / "faces.tar", {"2.jpg": b"t", "1.jpg": b"tar..", "3.jpg": b"tar"})
    source = Source(str(raw))
    assert contents(source) == {
        "faces/1.jpg": b"loose", "faces/2.jpg": b"t", "faces/3.jpg": b"tar", "faces/n.txt": b"1",
        "사진.jpg": b"decomposed",
    }  # fmt: skip
    assert source.dropped.examples == {
        "duplicate_name": ["사진.jpg", "faces.zip: 1.jpg", "faces.zip: 2.jpg", "faces.zip: ./2.jpg"]
    }
    assert source.skipped.examples == {"duplicate_name": ["faces.tar: 1.jpg", "faces.zip: ./n.txt"]}


def test_archives_in_archives_stay_closed(tmp_path):
    write_zip(tmp_path / "a.zip", {"in.zip": b"PK", "x/in.TAR.GZ": b"", "x/._in.zip": b"", "1.jpg": b"1"})
    source = Source(str(tmp_path / "a.zip"))
    assert source.paths == ("1.jpg", "x/._in.zip")
    assert source.skipped.examples == {"nested_archive": ["a.zip: in.zip", "a.zip: x/in.TAR.GZ"]}
    assert not source.dropped.counts


def test_hidden_archives_are_files(tmp_path):
    write_folder(
        tmp_path / "raw", {"._faces.zip": b"twin", "__MACOSX/a.zip": b"", ".x/a.tar": b"", "d.zip/1.jpg": b"1"}
    )
    assert Source(str(tmp_path / "raw")).paths == ("._faces.zip", ".x/a.tar", "__MACOSX/a.zip", "d.zip/1.jpg")


def test_a_single_file_that_is_no_archive(tmp_path, bucket):
    (tmp_path / "a.jpg").write_bytes(picture())
    upload(tmp_path / "a.jpg", f"s3://{bucket}/a.jpg")
    for uri in (str(tmp_path / "a.jpg"), f"file://{tmp_path}/a.jpg", f"s3://{bucket}/a.jpg"):
        with pytest.raises(InputError, match=r"a\.jpg: a single file; expected a folder or an archive \(\.zip, \.tar"):
            Source(uri)


def test_odd_keys_in_s3(bucket, monkeypatch):
    keys = ["a//1.jpg", "../2.jpg", "/3.jpg", "._4.jpg", "x/\0.jpg", nfd("기.jpg")]
    monkeypatch.setattr(s3_module, "list_objects", lambda bucket, key: [(key, 1, "e") for key in keys])
    monkeypatch.setattr(s3_module, "read_object", lambda bucket, key: key.encode())
    source = Source(f"s3://{bucket}/p")
    assert contents(source) == {"._4.jpg": b"p/._4.jpg", "a/1.jpg": b"p/a//1.jpg", "기.jpg": nfd("p/기.jpg").encode()}
    assert source.dropped.examples == {"unsafe_path": ["../2.jpg", "/3.jpg", "x/\\x00.jpg"]}
    assert source.original("a/1.jpg") == "a//1.jpg"


# --- order, memory, how much is read --------------------------------------------------------------------------------


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


def test_a_zip_is_read_at_random_and_neighbours_together(tmp_path, monkeypatch):
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


# --- S3 that fails --------------------------------------------------------------------------------------------------


@pytest.fixture
def in_s3(shapes, bucket):
    for shape in ("folder", "deflated.zip", ".tar", ".tar.gz"):
        upload(shapes[shape], f"s3://{bucket}/{shape}/" if shapes[shape].is_file() else f"s3://{bucket}/{shape}")
    return bucket


@pytest.mark.parametrize(
    ("uri", "lost"),
    [
        ("folder", "folder/train/기쁨/02.jpg"),
        ("deflated.zip", "deflated.zip/all.zip"),
        ("deflated.zip/all.zip", "deflated.zip/all.zip"),
        (".tar", ".tar/all.tar"),
        (".tar.gz/all.tar.gz", ".tar.gz/all.tar.gz"),
    ],
)
def test_an_object_that_goes_is_named(in_s3, uri, lost):
    source = Source(f"s3://{in_s3}/{uri}")
    s3_client().delete_object(Bucket=in_s3, Key=lost)
    with pytest.raises(StorageError, match=f"{lost}: there is no such object"):
        contents(source)


def test_an_object_that_goes_fails_ingest_and_leaves_nothing(in_s3, tmp_path, monkeypatch):
    real = Source.stream

    def stream(self, paths):
        s3_client().delete_object(Bucket=in_s3, Key="deflated.zip/all.zip")
        return real(self, paths)

    monkeypatch.setattr(Source, "stream", stream)
    with pytest.raises(StorageError, match=r"all\.zip: there is no such object"):
        run(f"s3://{in_s3}/deflated.zip", tmp_path / "out", **FORMATS["class_folder"])
    assert not any((tmp_path / "out").iterdir())


def test_an_object_that_shrinks_is_named(in_s3, shapes):
    sources = [Source(f"s3://{in_s3}/{shape}") for shape in ("deflated.zip", ".tar")]
    for name in ("deflated.zip/all.zip", ".tar/all.tar"):
        s3_client().put_object(Bucket=in_s3, Key=name, Body=b"short" * 300)
    for source in sources:
        with pytest.raises(StorageError, match=r"all\.(zip|tar): (ends before byte|.* answered with an error)"):
            contents(source)


def test_an_archive_that_is_replaced_is_not_believed(tmp_path):
    files = {"1.jpg": os.urandom(5000), "2.jpg": b"two"}
    write_tar(tmp_path / "a.tgz", files, "gz")
    source = Source(str(tmp_path / "a.tgz"))
    write_tar(tmp_path / "a.tgz", {"0.jpg": os.urandom(9000), **files}, "gz")
    with pytest.raises(
        (StorageError, InputError), match=r"a\.tgz: (the archive changed while it was read|not a whole)"
    ):
        contents(source)


@pytest.mark.parametrize("uri", ["folder", "deflated.zip/all.zip", ".tar", ".tar.gz"])
def test_wrong_credentials(in_s3, uri, monkeypatch):
    source = Source(f"s3://{in_s3}/{uri}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0" * 40)
    for action in (lambda: Source(f"s3://{in_s3}/{uri}"), lambda: contents(source)):
        with pytest.raises(StorageError, match=f"s3://{in_s3}/{uri}.*refuses the credentials"):
            action()


def test_a_server_that_stalls_in_the_middle_of_a_part(in_s3, monkeypatch):
    sources = [Source(f"s3://{in_s3}/{uri}") for uri in ("deflated.zip", ".tar.gz")]
    monkeypatch.setattr(s3_module, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(s3_module, "ATTEMPTS", 2)
    stop = threading.Event()
    connections = []

    def answer(server):
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connections.append(connection)
            connection.recv(65536)
            head = "HTTP/1.1 206 Partial Content\r\nContent-Length: 999\r\nContent-Range: bytes 0-998/999\r\n\r\n"
            connection.sendall(head.encode() + b"only this")

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        for source, name in zip(sources, ("all.zip", "all.tar.gz"), strict=True):
            with pytest.raises(StorageError, match=rf"{name}: .* does not answer in time"):
                contents(source)
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for connection in connections:
        connection.close()


def test_a_local_file_that_goes_is_named(tmp_path):
    raw = write_folder(tmp_path / "raw", {"1.jpg": b"1"})
    write_zip(raw / "a.zip", {"2.jpg": b"2"})
    for name, path in (("1.jpg", "1.jpg"), ("a.zip", "a/2.jpg")):
        source = Source(str(raw))
        (raw / name).unlink()
        with pytest.raises(StorageError, match=f"{name}: cannot be read"):
            list(source.stream([path]))


def test_large_loose_images_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MAX_FILE_BYTES", 10)
    source = Source(str(write_folder(tmp_path / "raw", {"1.jpg": bytes(11), "2.jpg": bytes(10), "l.json": bytes(99)})))
    assert source.paths == ("2.jpg", "l.json")
    assert source.dropped.examples == {"too_large": ["1.jpg"]}


def test_members_are_small():
    """A listing of half a million names must fit into memory."""
    assert not hasattr(members.Member(b"", 0), "__dict__")
    assert replace(members.Member(b"a", 1), fault="x") == members.Member(b"a", 1, "x")
