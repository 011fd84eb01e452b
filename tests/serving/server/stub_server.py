"""A real server over loopback, in a thread of the test, whose model does what the test wants."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tiny_model import card_facts

from serving.runtime.card import ClassificationCard
from serving.runtime.predictor import FaceResult
from serving.server.http.server import HttpServer
from serving.server.limits import Limits
from serving.server.run import _listen
from serving.server.state import ModelRepository, ServerState

Answer = tuple[int, dict[str, str], Any]


class StubModel:
    """A model whose predictions call `act`, with the image and the request's work, and find no face."""

    name, version, sha256 = "stub", "1", "0" * 64

    def __init__(self, act: Callable[..., None]) -> None:
        self.act = act
        self.card = ClassificationCard.model_validate(card_facts(name="stub"))

    def predict(self, images: Sequence[Any], *, work: Any = None) -> list[list[FaceResult]]:
        for photo, _ in images:
            self.act(photo.data, work)
        return [[] for _ in images]

    def infer(self, images: Any, *, work: Any = None) -> Any:
        raise NotImplementedError


class RunningServer:
    def __init__(self, server: HttpServer, port: int) -> None:
        self.state = server.state
        self.port = port
        self._server = server

    def stop(self) -> None:
        """Do what a stop signal does."""
        self._server.handle_exit(15, None)

    def connect(self, *parts: bytes) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), 20)
        for part in parts:
            client.sendall(part)
        return client

    def request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            return read_answer(connection.getresponse())
        finally:
            connection.close()


def read_answer(response: http.client.HTTPResponse) -> Answer:
    return response.status, {name.lower(): value for name, value in response.getheaders()}, json.loads(response.read())


def read_socket(client: socket.socket) -> Answer:
    response = http.client.HTTPResponse(client)
    response.begin()
    return read_answer(response)


def post(body: bytes, declared: int | None = None) -> bytes:
    """The bytes of a request."""
    length = len(body) if declared is None else declared
    return f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + body


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def is_closed(client: socket.socket) -> bool:
    """Whether the server closes a connection within 20 seconds, whatever it says before."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


@contextmanager
def running(act: Callable[..., None] = lambda data, work: None, **limits: Any) -> Iterator[RunningServer]:
    state = ServerState(limits=Limits(**limits), models=ModelRepository(StubModel(act)))
    listener = _listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = HttpServer(state)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    try:
        yield RunningServer(server, port)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
        assert not thread.is_alive()
