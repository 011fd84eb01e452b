"""HTTP over TLS: answers, slow handshakes, and a certificate that changes."""

import asyncio
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import write_certificate
from cryptography.hazmat.primitives import serialization
from stub_server import StubModel, is_closed, until

from serving.runtime.errors import InputError
from serving.server import tls as tls_module
from serving.server.http import handshakes as handshakes_module
from serving.server.http.server import HttpServer
from serving.server.limits import Limits
from serving.server.run import _listen
from serving.server.state import ModelRepository, ServerState
from serving.server.tls import Certificate


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    write_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@contextmanager
def running(files: tuple[Path, Path], **limits: int) -> Iterator[int]:
    state = ServerState(limits=Limits(**limits), models=ModelRepository(StubModel(lambda data, work: None)))
    listener = _listen("127.0.0.1", 0)
    server = HttpServer(state, certificate=Certificate(*files))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
        assert not thread.is_alive()


def ask(port: int, trusted: Path) -> int:
    """Status of a prediction over a verified connection."""
    context = ssl.create_default_context(cafile=str(trusted))
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    try:
        connection.request("POST", "/predict", b"x")
        response = connection.getresponse()
        assert json.loads(response.read())["faces"] == []
        return response.status
    finally:
        connection.close()


def test_handshakes_that_stall_hold_up_nobody(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes_module, "HEADERS_S", 1.0)
    with running(files, connections=8) as port:
        stalled = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(30)]
        assert ask(port, files[0]) == 200
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert is_closed(plain)
        assert is_closed(stalled[0]) and is_closed(stalled[-1]), "each handshake has bounded time"
        assert ask(port, files[0]) == 200
        for client in stalled:
            client.close()


def test_old_protocols_are_refused(files: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with running(files) as port, socket.create_connection(("127.0.0.1", port), 20) as client:
        with pytest.raises(OSError):
            context.wrap_socket(client)
        assert ask(port, files[0]) == 200


def test_a_changed_certificate_is_used_and_half_a_change_is_not(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_module, "_INTERVAL_S", 0.05)
    old, new = tmp_path / "old.pem", tmp_path / "new.pem"
    old.write_bytes(files[0].read_bytes())
    write_certificate(new, tmp_path / "new-key.pem", "changed")
    with running(files) as port:
        assert ask(port, old) == 200
        files[0].write_bytes(new.read_bytes())
        until(lambda: "stays as it was" in caplog.text)
        assert ask(port, old) == 200
        caplog.set_level("INFO")
        files[1].write_bytes((tmp_path / "new-key.pem").read_bytes())
        until(lambda: "read the certificate again" in caplog.text)
        assert ask(port, new) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(port, old)


@pytest.mark.parametrize(
    ("cert", "key", "text"),
    [
        ("none", "key.pem", "none: cannot be read: No such file or directory"),
        ("cert.pem", "none", "none: cannot be read: No such file or directory"),
        ("rubbish", "key.pem", "rubbish: not a certificate; expected PEM"),
        ("cert.pem", "rubbish", "rubbish: not a private key without a password; expected PEM"),
        ("key.pem", "cert.pem", r"key\.pem: not a certificate"),
        ("cert.pem", "other.pem", r"other\.pem: not the key of the certificate .*/cert\.pem"),
    ],
)
def test_files_that_are_no_certificate(files: tuple[Path, Path], cert: str, key: str, text: str) -> None:
    folder = files[0].parent
    (folder / "rubbish").write_text("rubbish")
    write_certificate(folder / "other-cert.pem", folder / "other.pem")
    with pytest.raises(InputError, match=text):
        Certificate(folder / cert, folder / key)


def test_an_encrypted_key_is_not_asked_for_its_password(files: tuple[Path, Path]) -> None:
    secret = serialization.load_pem_private_key(files[1].read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"x")
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    files[1].write_bytes(secret.private_bytes(*pem))
    with pytest.raises(InputError, match="without a password"):
        Certificate(*files)


def test_it_stops_looking(files: tuple[Path, Path]) -> None:
    async def life() -> bool:
        certificate = Certificate(*files)
        await certificate.start()
        await certificate.stop(1)
        await asyncio.sleep(0)
        return len(asyncio.all_tasks()) == 1

    assert asyncio.run(life())
