"""A gRPC server that asks for keys, speaks TLS, and stops."""

import hashlib
import io
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from certificates import write_certificate
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_process import SERVICE, GrpcServer, bytes_tensor, expect, grpc_serving, wait_for
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from http2_connection import Http2Connection
from PIL import Image
from server_process import picture
from tritonclient.grpc import service_pb2 as pb

from serving.runtime.machine import usable_memory

READER, ADMIN = "r" * 40, "a" * 40
LIST_SERVICES = ServerReflectionRequest(list_services="").SerializeToString()
# Of the server that is asked: shorter times and fewer connections.
PATCHED = """
import sys
from serving.server.grpc import server
from serving.server.run import main
server.MAX_CONNECTIONS, server._HANDSHAKE_S, server._IDLE_S = 6, 0.5, 0.5
sys.exit(main(sys.argv[1:]))
"""


def infer_message() -> bytes:
    message = pb.ModelInferRequest(model_name="tiny", **bytes_tensor(picture())).SerializeToString()
    assert isinstance(message, bytes)
    return message


def secure_channel(address: str, certificate: bytes) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(certificate)
    return grpc.secure_channel(address.replace("127.0.0.1", "localhost"), credentials)


def test_keys_and_tls(model_file: Path, tmp_path: Path) -> None:
    keys, cert, key = tmp_path / "keys.txt", tmp_path / "cert.pem", tmp_path / "key.pem"
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in (("r", READER), ("a", ADMIN))}
    keys.write_text(f"door:{digests['r']}\nboss:admin:{digests['a']}\n")
    write_certificate(cert, key)
    options = ("--model", str(model_file), "--api-keys", str(keys), "--tls-cert", str(cert), "--tls-key", str(key))
    with grpc_serving(tmp_path, *options) as server:
        with secure_channel(server.address, cert.read_bytes()) as channel:

            def call(name: str, *metadata: tuple[str, str], message: bytes = b"") -> bytes:
                answer = channel.unary_unary(SERVICE + name)(message, metadata=metadata, timeout=20)
                assert isinstance(answer, bytes)
                return answer

            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest()).status in (1, 2), "open"
            wait_for(lambda: pb.ServerReadyResponse.FromString(call("ServerReady")).ready)
            load = pb.RepositoryModelLoadRequest(model_name="tiny").SerializeToString()
            expect("UNAUTHENTICATED", "API key", lambda: call("ModelInfer", message=infer_message()))
            expect("UNAUTHENTICATED", "API key", lambda: call("ServerMetadata", ("x-api-key", "wrong")))
            assert call("ModelInfer", ("x-api-key", READER), message=infer_message())
            assert call("ModelInfer", ("authorization", f"Bearer {READER}"), message=infer_message())
            text = "'door' may not"
            expect("PERMISSION_DENIED", text, lambda: call("RepositoryModelLoad", ("x-api-key", READER), message=load))
            assert call("RepositoryModelLoad", ("x-api-key", ADMIN), message=load) == b""
            reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
            expect("UNAUTHENTICATED", "API key", lambda: list(reflect(iter([LIST_SERVICES]), timeout=20)))
            assert list(reflect(iter([LIST_SERVICES]), metadata=[("x-api-key", READER)], timeout=20))
        assert READER not in server.server.log.read_text()
        write_certificate(cert, key)
        with secure_channel(server.address, cert.read_bytes()) as channel:
            assert channel.unary_unary(SERVICE + "ServerLive")(b"", timeout=20), "the new certificate"
        with grpc.insecure_channel(server.address) as channel:
            expect("UNAVAILABLE", "", lambda: channel.unary_unary(SERVICE + "ServerLive")(b"", timeout=20))


def test_messages_that_do_not_come_and_a_stop_signal(model_file: Path, tmp_path: Path) -> None:
    """There is room for two messages of the largest size at a time."""
    largest = min(512, usable_memory() // 2**20 // 16 // 2)
    options = ("--model", str(model_file), "--max-body-mib", str(largest), "--lanes", "1")
    with grpc_serving(tmp_path, *options, program=("-c", PATCHED)) as server:
        wait_for(server.client.is_server_ready)
        check_room(server)
        check_silence(server)
        check_health(server)
        check_stop(server)


def check_room(server: GrpcServer) -> None:
    """A call whose message does not come makes room for another, and holds up no probe."""
    release = threading.Event()

    def never() -> Iterator[bytes]:
        release.wait(20)
        yield b""

    stalled = server.channel.stream_unary(SERVICE + "ModelInfer").future(never())
    time.sleep(0.2)
    began = time.monotonic()
    assert server.client.is_server_live() and time.monotonic() - began < 0.7
    waiting = server.channel.unary_unary(SERVICE + "ModelInfer").future(infer_message())
    check_connections(server)
    assert waiting.result(20)
    assert 0.5 < time.monotonic() - began < 4, "it waited, and then the other one had to go"
    expect("UNAVAILABLE", "did not arrive", stalled.result)
    release.set()


def check_silence(server: GrpcServer) -> None:
    """A connection whose messages do not come keeps nobody else waiting."""
    health = health_pb2_grpc.HealthStub(server.channel)
    for name, message in (("ModelMetadata", b"\n\x04tiny"), ("ModelInfer", infer_message())):
        silent = Http2Connection(server.port)
        for _ in range(90):
            silent.call(SERVICE + name)
        silent.pump(0, seconds=0.05)
        began = time.monotonic()
        assert server.raw(name, message)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=4).status == 1
        assert time.monotonic() - began < 0.8
        silent.close()


def check_connections(server: GrpcServer) -> None:
    """Connections that do nothing shut nobody out."""
    idle = [Http2Connection(server.port) for _ in range(4)]
    silent = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(4)]
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(server.address, options) as channel:
        live = channel.unary_unary(SERVICE + "ServerLive")
        assert live(b"", timeout=8, wait_for_ready=True)
    for one in (*idle, *silent):
        one.close()


def check_health(server: GrpcServer) -> None:
    """While every lane computes for a call that is over, no model wants requests, whoever asks."""
    large = io.BytesIO()
    Image.new("L", (5000, 4000)).save(large, "PNG", compress_level=1)
    message = pb.ModelInferRequest(model_name="tiny", **bytes_tensor(large.getvalue())).SerializeToString()
    pending = server.channel.unary_unary(SERVICE + "ModelInfer").future(message)
    health = health_pb2_grpc.HealthStub(server.channel)
    time.sleep(0.05)
    pending.cancel()
    wait_for(lambda: health.Check(health_pb2.HealthCheckRequest(service="tiny")).status == 2, 2)
    assert not server.client.is_model_ready("tiny")
    wait_for(lambda: health.Check(health_pb2.HealthCheckRequest(service="tiny")).status == 1, 10)


def check_stop(server: GrpcServer) -> None:
    """After a stop signal calls in flight are answered, new ones are not, and those who watch are told."""
    health = health_pb2_grpc.HealthStub(server.channel)
    seen: list[int] = []
    watch = health.Watch(health_pb2.HealthCheckRequest(service="tiny"))
    watching = threading.Thread(target=lambda: seen.extend(answer.status for answer in watch))
    watching.start()
    send = threading.Event()

    def late() -> Iterator[bytes]:
        send.wait(20)
        yield infer_message()

    call = server.channel.stream_unary(SERVICE + "ModelInfer").future(late())
    wait_for(lambda: seen == [1])
    time.sleep(0.1)
    server.server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: seen == [1, 2])
    assert server.client.is_server_live() and not server.client.is_server_ready()
    for service in ("", "tiny"):
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == 2
    expect("UNAVAILABLE", "stopping", lambda: server.raw("ModelInfer", infer_message()))
    send.set()
    assert pb.ModelInferResponse.FromString(call.result(20)).model_name == "tiny"
    began = time.monotonic()
    assert server.server.wait() == 0 and time.monotonic() - began < 4
    watching.join(10)
    assert not watching.is_alive() and "Traceback" not in server.server.log.read_text()
