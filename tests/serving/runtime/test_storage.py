"""Files on the disk and in S3 under the same rules."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from stored_files import NAMES

from serving.runtime import s3 as s3_module
from serving.runtime.errors import StorageError
from serving.runtime.ordered_map import ordered_map
from serving.runtime.s3 import s3_client
from serving.runtime.storage import Location, digest, download, is_s3, make_bucket, upload


def test_list_read_and_download_agree(location: Location, tmp_path: Path) -> None:
    entries = location.list()
    assert [(entry.path, entry.size) for entry in entries] == sorted((n, len(c)) for n, c in NAMES.items())
    assert all(bool(entry.etag) == is_s3(location.uri) for entry in entries)
    assert {entry.path: location.read(entry.path) for entry in entries} == NAMES
    files = download(location.uri, tmp_path / "out" / "deep")
    assert {file.relative_to(tmp_path / "out" / "deep").as_posix(): file.read_bytes() for file in files} == NAMES
    assert [file.relative_to(tmp_path / "out" / "deep").as_posix() for file in files] == sorted(NAMES)
    found = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert len(found) == len(NAMES), "no temporary file is left"


def test_a_prefix_ends_at_a_slash(location: Location, tmp_path: Path) -> None:
    for faces in (location.join("faces"), location.join("faces/"), Location(f"{location.uri}/faces")):
        assert [entry.path for entry in faces.list()] == ["1.jpg", "10.jpg", "2.jpg"]
    assert len(download(location.join("faces").uri, tmp_path / "faces")) == 3
    assert location.join("faces").exists()
    assert not location.join("face").exists()
    with pytest.raises(StorageError, match="face"):
        location.join("face").list()


def test_a_single_file(location: Location, tmp_path: Path) -> None:
    one = location.join("faces/10.jpg")
    assert [(entry.path, entry.size) for entry in one.list()] == [("", 5)]
    assert one.read() == b"tenth" and one.exists() and one.name == "10.jpg"
    assert download(one.uri, tmp_path / "one") == [tmp_path / "one" / "10.jpg"]
    assert (tmp_path / "one" / "10.jpg").read_bytes() == b"tenth"


def test_upload_of_a_single_file(bucket: str, tree: Path, tmp_path: Path) -> None:
    for target, written in (
        (f"s3://{bucket}/x/model.onnx", f"s3://{bucket}/x/model.onnx"),
        (f"s3://{bucket}/y/", f"s3://{bucket}/y/a.jpg"),
        (f"s3://{bucket}", f"s3://{bucket}/a.jpg"),
        (f"{tmp_path}/x/model.onnx", f"{tmp_path}/x/model.onnx"),
        (f"file://{tmp_path}/y/", f"{tmp_path}/y/a.jpg"),
    ):
        assert upload(tree / "a.jpg", target) == 1
        assert Location(written).read() == b"one"


def test_a_whole_bucket(bucket: str, tree: Path) -> None:
    assert Location(f"s3://{bucket}").list() == []
    assert Location(f"s3://{bucket}").exists()
    upload(tree, f"s3://{bucket}")
    for uri in (f"s3://{bucket}", f"s3://{bucket}/"):
        assert [entry.path for entry in Location(uri).list()] == sorted(NAMES)
        assert Location(uri).read("a.jpg") == b"one"
    make_bucket(bucket)
    assert Location(f"s3://{bucket}/a.jpg").exists(), "making it again changes nothing"


def test_large_files_go_in_parts(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * 2**20)
    content = os.urandom(13 * 2**20 + 7)
    (tmp_path / "big.zip").write_bytes(content)
    upload(tmp_path / "big.zip", f"s3://{bucket}/big.zip", workers=3)
    (file,) = download(f"s3://{bucket}/big.zip", tmp_path / "out", workers=3)
    assert file.read_bytes() == content
    assert Location(f"s3://{bucket}/big.zip").list()[0].size == len(content)


def test_more_than_one_page(s3: Any, bucket: str) -> None:
    folder = s3.folder / bucket / "many"
    folder.mkdir()
    for number in range(1203):
        (folder / f"{number:04}").touch()
    assert [entry.path for entry in Location(f"s3://{bucket}/many").list()] == [f"{n:04}" for n in range(1203)]


def test_files_read_on_several_threads_come_in_order(location: Location) -> None:
    paths = [*sorted(NAMES), *sorted(NAMES, reverse=True)] * 3
    assert list(ordered_map(location.read, iter(paths), workers=3, ahead=5)) == [(path, NAMES[path]) for path in paths]
    reading = ordered_map(location.read, ["a.jpg", "missing", "a.jpg"], workers=2, ahead=3)
    assert next(reading) == ("a.jpg", b"one")
    with pytest.raises(StorageError, match="missing"):
        next(reading)


def test_written_bytes_are_a_file_of_the_location(location: Location, tmp_path: Path) -> None:
    location.write(b"new", "deep/er/new.jpg")
    location.write(b"other", "deep/er/new.jpg")
    location.join("alone.jpg").write(b"")
    assert location.read("deep/er/new.jpg") == b"other" and location.read("alone.jpg") == b""
    assert len(location.list()) == len(NAMES) + 2, "no temporary file is left"
    for path in ("../out.jpg", "a//b"):
        if not location.bucket:
            with pytest.raises(StorageError, match="leads out"):
                location.write(b"x", path)


def test_a_deleted_file_is_gone_and_deleting_again_is_no_error(location: Location) -> None:
    for _ in range(2):
        location.delete("a.jpg")
        assert "a.jpg" not in [entry.path for entry in location.list()]


def test_digest_follows_the_listing(location: Location, tmp_path: Path) -> None:
    before = digest(location)
    assert digest(location) == before and len(before) == 64
    changed = tmp_path / "changed"
    changed.write_bytes(b"longer than before")
    upload(changed, location.join("faces/1.jpg").uri)
    after = digest(location)
    assert after != before
    upload(changed, location.join("faces/3.jpg").uri)
    assert digest(location) not in (before, after)


def test_digest_sees_a_change_of_the_same_size(bucket: str, tmp_path: Path) -> None:
    digests = []
    for content in (b"abc", b"abd", b"abc"):
        (tmp_path / "f").write_bytes(content)
        upload(tmp_path / "f", f"s3://{bucket}/set/f")
        digests.append(digest(Location(f"s3://{bucket}/set")))
    assert digests[0] != digests[1] and digests[0] == digests[2]


def test_a_file_appears_whole_or_not_at_all(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_client().put_object(Bucket=bucket, Key="set/f", Body=io.BytesIO(b"new"))
    target = tmp_path / "out"
    target.mkdir()
    (target / "f").write_bytes(b"old")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "0" * 40)
    monkeypatch.setattr(s3_module, "list_objects", lambda bucket, key: [("f", 3, "e")])
    with pytest.raises(StorageError):
        download(f"s3://{bucket}/set", target)
    assert [(file.name, file.read_bytes()) for file in target.iterdir()] == [("f", b"old")]


def test_the_client_follows_the_environment(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = s3_client()
    assert s3_client() is first
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert s3_client() is not first
    assert s3_client().meta.region_name == "us-east-1"
    assert s3_client().meta.config.s3 == {"addressing_style": "path"}
