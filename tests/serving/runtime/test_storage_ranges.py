"""Parts of files: the same from the disk and from S3, with the same words when they cannot be had."""

import socket
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from serving.runtime import s3 as s3_module
from serving.runtime.errors import StorageError
from serving.runtime.storage import Location, make_bucket, upload

CONTENT = bytes(range(256)) * 4


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "사진.bin").write_bytes(CONTENT)
    if request.param == "local":
        return Location(str(tmp_path / "top"))
    request.getfixturevalue("s3")
    bucket = f"t{uuid.uuid4().hex}"
    make_bucket(bucket)
    upload(tmp_path / "top", f"s3://{bucket}/top")
    return Location(f"s3://{bucket}/top")


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 1024), (5, 300), (1023, 1), (1024, 0), (7, 0)])
def test_a_part_is_the_part(location: Location, offset: int, length: int) -> None:
    expected = CONTENT[offset : offset + length]
    assert location.read_range(offset, length, "사진.bin") == expected
    assert location.join("사진.bin").read_range(offset, length) == expected


@pytest.mark.parametrize(("offset", "length"), [(0, 1025), (1000, 100), (1024, 1), (5000, 10)])
def test_what_is_not_there_is_an_error(location: Location, offset: int, length: int) -> None:
    with pytest.raises(StorageError, match=r"top/사진\.bin: "):
        location.read_range(offset, length, "사진.bin")


def test_a_file_that_is_not_there(location: Location) -> None:
    with pytest.raises(StorageError, match="top/none"):
        location.read_range(0, 1, "none")


def test_a_part_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(StorageError, match="leads out"):
        Location(str(tmp_path / "top")).read_range(0, 1, "../secret")


def serve(answers: list[bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Thread, list[bytes]]:
    """Give these answers to the next requests, one connection each."""
    asked: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

    def answer() -> None:
        with server:
            for text in answers:
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(text)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread, asked


HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9\r\nContent-Range: bytes 3-11/99\r\nConnection: close\r\n\r\n"


def test_a_part_that_breaks_off_is_asked_for_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, asked = serve([HEAD + b"part", HEAD, HEAD + b"the whole"], monkeypatch)
    assert Location("s3://raw/x").read_range(3, 9) == b"the whole"
    thread.join(5)
    assert len(asked) == 3 and all(b"bytes=3-11" in request for request in asked)


def test_a_part_that_always_breaks_off_is_one_error(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, asked = serve([HEAD + b"part"] * s3_module.ATTEMPTS, monkeypatch)
    with pytest.raises(StorageError, match="s3://raw/x: "):
        Location("s3://raw/x").read_range(3, 9)
    thread.join(5)
    assert len(asked) == s3_module.ATTEMPTS


def test_a_server_that_sends_everything_is_refused(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, _ = serve([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nthe whole"], monkeypatch)
    with pytest.raises(StorageError, match="s3://raw/x: .* does not read parts of objects"):
        Location("s3://raw/x").read_range(3, 9)
    thread.join(5)
