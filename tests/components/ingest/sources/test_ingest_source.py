"""The same tree comes out of a folder, an archive of any kind, and S3."""

import shutil
import tarfile
import unicodedata
import uuid
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_trees import FORMATS, KINDS, contents, pack, run, tree, write_tar, write_zip

from components.ingest.sources.source import Source
from serving.runtime.image.photo_types import type_of
from serving.runtime.storage import upload

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


@pytest.fixture(scope="module")
def of_the_folder(shapes, tmp_path_factory):
    return {name: run(shapes["folder"], tmp_path_factory.mktemp(name), **FORMATS[name]) for name in FORMATS}


@pytest.mark.parametrize("shape", SHAPES)
def test_ingest_gives_the_same_from_every_shape(shapes, shape, of_the_folder, tmp_path):
    for name, options in FORMATS.items():
        assert run(shapes[shape], tmp_path / name, **options) == of_the_folder[name]
    images, info, _ = of_the_folder["class_folder"]
    assert len(images) == 17 and info.dropped == {"not_an_image": 1}
    assert info.skipped == {"hidden": 4, "not_an_image_name": 3}


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
# A photo under a name that is not one is dropped, see test_ingest_photo_types.
NO_PHOTO = st.binary(max_size=300).filter(lambda data: type_of(data) is None)
TREES = st.dictionaries(
    st.tuples(PARTS, PARTS).map("/".join), NO_PHOTO | st.integers(0, 9).map(lambda n: bytes(n * 7000)),
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
