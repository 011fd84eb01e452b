"""Sources that fail midway: objects that go, shrink or stall, and files that are too large."""

import os
import socket
import threading

import pytest
from source_trees import FORMATS, contents, run, write_folder, write_tar, write_zip

from components.ingest.sources import members
from components.ingest.sources.source import Source
from serving.runtime import s3 as s3_module
from serving.runtime.errors import InputError, StorageError
from serving.runtime.s3 import s3_client
from serving.runtime.storage import upload


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
