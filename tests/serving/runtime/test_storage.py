import io
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime import s3 as s3_module
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import Entry, Location, digest, download, is_s3, make_bucket, read_many, s3_client, upload

NAMES = {
    "a.jpg": b"one",
    "faces/1.jpg": b"first",
    "faces/10.jpg": b"tenth",
    "faces/2.jpg": b"",
    "faces-old/1.jpg": b"old",
    "faces2/1.jpg": b"not mine",
    "얼굴/사진 한 장 + 100%.jpg": b"korean",
    "odd/a&b=c?d#e;f'g\"h.jpg": b"signs",
    "odd/ leading and trailing ": b"spaces",
}


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"t{uuid.uuid4().hex}"
    make_bucket(name)
    return name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for name, content in NAMES.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return top


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tree: Path) -> Location:
    """The same files, once on the disk and once in S3."""
    if request.param == "local":
        return Location(str(tree))
    uri = f"s3://{request.getfixturevalue('bucket')}/some where"
    assert upload(tree, uri) == len(NAMES)
    return Location(uri)


def test_list_read_and_download_agree(place: Location, tmp_path: Path) -> None:
    entries = place.list()
    assert [(entry.path, entry.size) for entry in entries] == sorted((n, len(c)) for n, c in NAMES.items())
    assert all(bool(entry.etag) == is_s3(place.uri) for entry in entries)
    assert {entry.path: place.read(entry.path) for entry in entries} == NAMES
    files = download(place.uri, tmp_path / "out" / "deep")
    assert {file.relative_to(tmp_path / "out" / "deep").as_posix(): file.read_bytes() for file in files} == NAMES
    assert [file.relative_to(tmp_path / "out" / "deep").as_posix() for file in files] == sorted(NAMES)
    found = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert len(found) == len(NAMES), "no temporary file is left"


def test_a_prefix_ends_at_a_slash(place: Location, tmp_path: Path) -> None:
    for faces in (place.join("faces"), place.join("faces/"), Location(f"{place.uri}/faces")):
        assert [entry.path for entry in faces.list()] == ["1.jpg", "10.jpg", "2.jpg"]
    assert len(download(place.join("faces").uri, tmp_path / "faces")) == 3
    assert place.join("faces").exists()
    assert not place.join("face").exists()
    with pytest.raises(StorageError, match="face"):
        place.join("face").list()


def test_a_single_file(place: Location, tmp_path: Path) -> None:
    one = place.join("faces/10.jpg")
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


def test_read_many_keeps_the_order(place: Location) -> None:
    paths = [*sorted(NAMES), *sorted(NAMES, reverse=True)] * 3
    assert list(read_many(place, iter(paths), workers=3)) == [(path, NAMES[path]) for path in paths]
    reading = read_many(place, ["a.jpg", "missing", "a.jpg"], workers=2)
    assert next(reading) == ("a.jpg", b"one")
    with pytest.raises(StorageError, match="missing"):
        next(reading)


def test_read_many_holds_few_files(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    asked = 0

    def paths() -> Iterator[str]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield "f"

    reading = read_many(Location(str(tmp_path)), paths(), workers=4)
    next(reading)
    assert asked <= 8
    reading.close()


def test_digest_follows_the_listing(place: Location, tmp_path: Path) -> None:
    before = digest(place)
    assert digest(place) == before and len(before) == 64
    changed = tmp_path / "changed"
    changed.write_bytes(b"longer than before")
    upload(changed, place.join("faces/1.jpg").uri)
    after = digest(place)
    assert after != before
    upload(changed, place.join("faces/3.jpg").uri)
    assert digest(place) not in (before, after)


def test_digest_sees_a_change_of_the_same_size(bucket: str, tmp_path: Path) -> None:
    digests = []
    for content in (b"abc", b"abd", b"abc"):
        (tmp_path / "f").write_bytes(content)
        upload(tmp_path / "f", f"s3://{bucket}/set/f")
        digests.append(digest(Location(f"s3://{bucket}/set")))
    assert digests[0] != digests[1] and digests[0] == digests[2]


# --- one clear error each ------------------------------------------------------------------------------------------


def every_way_to_touch(uri: str, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "source").write_bytes(b"x")
    return {
        "list": lambda: Location(uri).list(),
        "read": lambda: Location(uri).read(),
        "download": lambda: download(uri, tmp_path / "out"),
        "upload": lambda: upload(tmp_path / "source", uri),
        "read_many": lambda: list(read_many(Location(uri), ["x"])),
        "digest": lambda: digest(Location(uri)),
    }


def check(uri: str, tmp_path: Path, expected: str, *, without: tuple[str, ...] = ()) -> None:
    for name, action in every_way_to_touch(uri, tmp_path).items():
        if name in without:
            continue
        with pytest.raises(StorageError, match=expected) as caught:
            action()
        assert uri.split("/")[2] in str(caught.value), f"{name} does not name what failed"
        assert len(str(caught.value)) < 500
    assert not [file for file in tmp_path.rglob("out/**/*") if file.is_file()]


def test_missing_bucket(s3: Any, tmp_path: Path) -> None:
    check("s3://nowhere/x", tmp_path, "no such bucket")
    assert not Location("s3://nowhere/x").exists()
    assert not Location("s3://nowhere").exists()


def test_missing_key(bucket: str, tmp_path: Path) -> None:
    check(f"s3://{bucket}/nothing", tmp_path, "no such object|nothing at or below", without=("upload",))
    assert not Location(f"s3://{bucket}/other").exists()


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(wrong, "0" * 40)
    check(f"s3://{bucket}/x", tmp_path, "refuses the credentials")
    with pytest.raises(StorageError, match="refuses the credentials"):
        Location(f"s3://{bucket}/x").exists()
    with pytest.raises(StorageError, match="refuses the credentials"):
        make_bucket("another")


def test_no_credentials(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    check(f"s3://{bucket}/x", tmp_path, "no usable S3 credentials.*AWS_ACCESS_KEY_ID")


def test_refused_endpoint(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3_module, "ATTEMPTS", 1)
    check("s3://raw/x", tmp_path, "127.0.0.1:9 cannot be reached")


def test_an_endpoint_that_is_no_url(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")
    with pytest.raises(StorageError, match="localhost"):
        Location("s3://raw/x").list()


def test_an_endpoint_that_stalls(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(s3_module, "ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        check("s3://raw/x", tmp_path, f"{address} does not answer in time", without=("digest", "read_many", "upload"))


def test_a_body_that_breaks_off_is_asked_for_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"0123456789" * 100
    asked = []

    def answer(server: socket.socket) -> None:
        for sent in (10, 20, len(content)):
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(65536))
                head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nETag: "e"\r\nConnection: close\r\n\r\n'
                connection.sendall(head.encode() + content[:sent])

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        assert Location("s3://raw/x").read() == content
        thread.join(5)
    assert len(asked) == 3


def test_missing_local_files(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for action in (
        lambda: Location(str(missing)).list(),
        lambda: Location(str(missing)).read(),
        lambda: download(str(missing), tmp_path / "out"),
        lambda: upload(missing, str(tmp_path / "out")),
        lambda: digest(Location(str(missing))),
    ):
        with pytest.raises(StorageError, match="missing"):
            action()
    assert not Location(str(missing)).exists()


@pytest.mark.parametrize(
    "uri", ["", "s3://", "s3:///key", "s3:/bucket/key", "gs://b/k", "http://host/x", "models:/m@a"]
)
def test_a_uri_that_is_no_location(uri: str) -> None:
    with pytest.raises(InputError, match="s3://bucket/path"):
        Location(uri)


# --- staying inside ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "a//b", ".", "a/.", "..", "a\0b"])
def test_no_path_leads_out_of_a_folder(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "in" / "a").mkdir(parents=True)
    with pytest.raises(StorageError, match="leads out"):
        Location(str(tmp_path / "in")).read(path)


@pytest.mark.parametrize("key", ["../secret", "/abs", "a/../../secret", "a//b", "./a"])
def test_no_key_leads_out_of_the_target(key: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A server that stores keys as files cannot hold such keys itself, so its listing is made up.
    monkeypatch.setattr(s3_module, "list_objects", lambda bucket, prefix: [("ok.jpg", 1, "e"), (key, 1, "e")])
    with pytest.raises(StorageError, match="leads out"):
        download("s3://raw/set", tmp_path / "target")
    assert not (tmp_path / "secret").exists() and not (tmp_path / "target").exists()


@given(st.text(alphabet="a./\\\0b", max_size=12))
def test_a_path_is_inside_or_refused(path: str) -> None:
    from serving.runtime.storage import _inside

    top = Path("/top/folder")
    try:
        file = _inside(top, path)
    except StorageError:
        return
    assert os.path.normpath(file) == str(file)
    assert file == top or top in file.parents


def test_source_equal_to_destination_is_refused(tree: Path) -> None:
    link = tree.parent / "link"
    link.symlink_to(tree)
    for action in (
        lambda: download(str(tree), tree),
        lambda: download(str(tree), link),
        lambda: download(str(tree / "a.jpg"), tree),
        lambda: upload(tree, f"file://{link}"),
        lambda: upload(tree / "a.jpg", str(tree / "a.jpg")),
        lambda: upload(tree / "a.jpg", f"{tree}/"),
    ):
        with pytest.raises(InputError, match="the same"):
            action()
    assert (tree / "a.jpg").read_bytes() == b"one"


def test_a_key_that_is_both_file_and_folder(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "list_objects", lambda bucket, key: [("a", 1, "e"), ("a/b", 1, "e")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"x")
    with pytest.raises(StorageError, match="out/a"):
        download("s3://raw/set", tmp_path / "out")


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(b"1")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "top")
    assert Location(str(tmp_path / "top")).list() == [Entry("linked/1.jpg", 1, "")]


def test_a_name_that_is_not_utf8(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xb0\xa1.jpg")).write_bytes(b"x")
    (entry,) = Location(str(folder)).list()
    assert Location(str(folder)).read(entry.path) == b"x" and digest(Location(str(folder)))
    with pytest.raises(StorageError, match="UTF-8"):
        upload(folder, f"s3://{bucket}")


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
