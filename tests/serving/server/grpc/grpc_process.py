"""A server process that speaks gRPC, and calls of it.

The tests do not import the server's own messages: those of tritonclient are of the same names, and a process can have
one of them only.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton
from server_process import Server, serving
from tritonclient.grpc import service_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"


class GrpcServer:
    """A server process, its client, and a channel for calls that the client cannot make."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.client = triton.InferenceServerClient(self.address)
        self.channel = grpc.insecure_channel(self.address)

    def raw(self, name: str, message: bytes, timeout: float = 20, metadata: Any = None) -> bytes:
        """The encoded answer to an encoded message."""
        answer = self.channel.unary_unary(SERVICE + name)(message, timeout=timeout, metadata=metadata)
        assert isinstance(answer, bytes)
        return answer

    def infer(self, timeout: float = 20, **fields: Any) -> Any:
        """The answer to a ModelInferRequest of these fields."""
        request = pb.ModelInferRequest(**{"model_name": "tiny"} | fields)
        return pb.ModelInferResponse.FromString(self.raw("ModelInfer", request.SerializeToString(), timeout))

    def logged(self, text: str, seconds: float = 10) -> str:
        """The log when it has this text, a regular expression."""
        wait_for(lambda: re.search(text, self.server.log.read_text()), seconds, self.server.log)
        return self.server.log.read_text()


def wait_for(condition: Callable[[], Any], seconds: float = 10, log: Path | None = None) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, log.read_text()[-2000:] if log else "it did not happen in time"
        time.sleep(0.01)
    return value


@contextmanager
def grpc_serving(
    tmp_path: Path, *options: str, program: Sequence[str] = ("-m", "serving"), **variables: str
) -> Iterator[GrpcServer]:
    with serving(tmp_path, *options, "--grpc-port", "0", program=program, **variables) as server:
        line = r"serving gRPC on \S+:(\d+)"
        found = wait_for(lambda: re.search(line, server.log.read_text()), 60)
        running = GrpcServer(server, int(found[1]))
        try:
            yield running
        finally:
            running.client.close()
            running.channel.close()


def bytes_tensor(*elements: bytes, **fields: Any) -> dict[str, Any]:
    """The fields of a request with image files, raw."""
    raw = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    return {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [len(elements)]} | fields],
            "raw_input_contents": [raw]}  # fmt: skip


def expect(code: str, text: str, call: Callable[[], Any]) -> Any:
    """The error that a call ends with."""
    with pytest.raises((grpc.RpcError, triton.InferenceServerException)) as caught:
        call()
    error: Any = caught.value
    if isinstance(error, grpc.RpcError):
        found, details = error.code().name, error.details()  # type: ignore[attr-defined]
    else:
        found, details = error.status().removeprefix("StatusCode."), error.message()
    assert (found, text in details) == (code, True), (found, details)
    return error
