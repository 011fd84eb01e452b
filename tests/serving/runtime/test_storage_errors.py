"""Storage that refuses, stalls or is not there: one clear error each."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from serving.runtime import s3 as s3_module
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import Location, digest, download, make_bucket, upload


def every_way_to_touch(uri: str, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "source").write_bytes(b"x")
    return {
        "list": lambda: Location(uri).list(),
        "read": lambda: Location(uri).read(),
        "download": lambda: download(uri, tmp_path / "out"),
        "upload": lambda: upload(tmp_path / "source", uri),
        "write": lambda: Location(uri).write(b"x"),
        "read_below": lambda: Location(uri).read("x"),
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
    check(f"s3://{bucket}/nothing", tmp_path, "no such object|nothing at or below", without=("upload", "write"))
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
        check("s3://raw/x", tmp_path, f"{address} does not answer in time", without=("digest", "read_below", "upload"))


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
