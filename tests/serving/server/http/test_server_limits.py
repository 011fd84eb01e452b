"""What a client can hold up: nothing but itself. Slow, silent, many, leaving and demanding clients, on real sockets."""

import asyncio
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest
from stub_server import is_closed, post, read_socket, running, until

from serving.server.http import connection as connection_module
from serving.server.http import server as server_module
from serving.server.http.server import HttpServer
from serving.server.state import ServerState


class Gate:
    """Holds predictions until it is opened, and counts them."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.calls: list[bytes] = []

    def __call__(self, data: bytes, work: Any) -> None:
        self.calls.append(data)
        assert self.opened.wait(30)


def test_a_later_answer_on_a_connection_is_not_late() -> None:
    """Without TCP_NODELAY each waits 40 ms for the client's delayed acknowledgment."""
    with running() as server, server.connect() as client:
        seconds = []
        for _ in range(12):
            began = time.perf_counter()
            client.sendall(post(b"picture"))
            assert read_socket(client)[0] == 200
            seconds.append(time.perf_counter() - began)
        assert min(seconds[1:]) < 0.03


def test_an_offer_of_another_protocol_is_ignored() -> None:
    """Java's client offers HTTP/2 with every request over plain HTTP."""
    offer = b"HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    bodies: list[bytes] = []
    with running(lambda data, work: bodies.append(data)) as server, server.connect() as client:
        for body in (b"a picture", b"Upgrade: in it\r\nUpgrade: x\r\n\r\n"):
            client.sendall(post(body).replace(b"HTTP/1.1\r\n", offer))
            assert read_socket(client)[0] == 200
            assert bodies[-1] == body


# --- overload --------------------------------------------------------------------------------------------------------


def test_more_requests_than_may_wait_are_refused_at_once() -> None:
    gate = Gate()
    with running(gate, max_waiting=2) as server, ThreadPoolExecutor(16) as pool:
        accepted = [pool.submit(server.request, "POST", "/predict", b"x") for _ in range(3)]
        until(lambda: server.state.lanes.waiting == 2)
        began = time.monotonic()
        for status, headers, answer in pool.map(lambda _: server.request("POST", "/predict", bytes(10**6)), range(12)):
            assert (status, headers["retry-after"]) == (503, "1") and "busy" in answer["error"]
        assert time.monotonic() - began < 5
        assert server.request("GET", "/v2/health/ready")[0] == 200
        gate.opened.set()
        assert [future.result()[0] for future in accepted] == [200, 200, 200]


def test_a_request_waits_for_bounded_time() -> None:
    gate = Gate()
    with running(gate, wait_s=0.2) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.request, "POST", "/predict", b"x")
        until(lambda: bool(gate.calls))
        assert "no turn within 0.2 s" in server.request("POST", "/predict", b"y")[2]["error"]
        gate.opened.set()
        assert first.result()[0] == 200 and gate.calls == [b"x"]


def test_a_queue_that_takes_too_long_is_refused_before_it_is_full() -> None:
    with running(lambda data, work: time.sleep(0.1), wait_s=0.35) as server, ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            assert server.request("POST", "/predict", b"x")[0] == 200
        answers = list(pool.map(lambda _: server.request("POST", "/predict", b"x"), range(16)))
        assert [status for status, *_ in answers].count(200) >= 3
        assert sum("requests wait already" in str(answer) for _, _, answer in answers) >= 8


def test_requests_whose_clients_have_left_are_not_computed() -> None:
    gate = Gate()
    with running(gate) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.request, "POST", "/predict", b"first")
        until(lambda: bool(gate.calls))
        leaving = [server.connect(post(b"left")) for _ in range(5)]
        until(lambda: server.state.lanes.waiting == 5)
        for client in leaving:
            client.close()
        until(lambda: server.state.lanes.waiting == 0)
        gate.opened.set()
        assert first.result()[0] == 200 and server.request("POST", "/predict", b"good")[0] == 200
        assert gate.calls == [b"first", b"good"]
        assert server.state.body_bytes == 0


def test_a_half_closed_client_is_not_kept_waiting() -> None:
    gate = Gate()
    with running(gate) as server, server.connect(post(b"x")) as client, server.connect(b"POST /pre") as early:
        until(lambda: bool(gate.calls))
        for half in (client, early):
            half.shutdown(socket.SHUT_WR)
            assert is_closed(half)
        gate.opened.set()


def test_the_time_of_a_request_counts_from_its_arrival_and_readiness_tells_the_truth() -> None:
    """A lane that cannot be interrupted is not ready for others; the request is answered all the same."""
    gate = Gate()
    with running(gate, request_s=0.4) as server:
        began = time.monotonic()
        status, _, answer = server.request("POST", "/predict", b"x")
        assert status == 504 and "0.4 s" in answer["error"] and time.monotonic() - began < 5
        status, _, answer = server.request("GET", "/v2/health/ready")
        assert status == 503 and "every lane" in answer["error"]
        assert server.request("GET", "/v2/health/live")[0] == 200
        gate.opened.set()
        until(lambda: not server.state.lanes.busy)
        assert server.request("GET", "/v2/health/ready")[0] == 200


def test_work_that_nobody_waits_for_ends_at_its_next_check() -> None:
    ended = threading.Event()

    def act(data: bytes, work: Any) -> None:
        try:
            while True:
                work.check()
                time.sleep(0.01)
        finally:
            ended.set()

    with running(act, request_s=0.2) as server:
        assert server.request("POST", "/predict", b"x")[0] == 504
        assert ended.wait(5)


# --- slow and many ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /predict HT", b"POST /predict HTTP/1.1\r\nHost: x\r\nA: ", post(b"x") + b"GET /v2 HTTP/1.1\r\nA: "],
    ids=["silent", "line", "header", "second request"],
)
def test_headers_must_arrive_in_time(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connection_module, "HEADERS_S", 0.3)
    with running() as server, server.connect(sent) as client:
        began = time.monotonic()
        while sent and time.monotonic() - began < 2:  # a byte now and then changes nothing
            try:
                client.sendall(b"a")
            except OSError:
                break
            time.sleep(0.05)
        assert is_closed(client) and time.monotonic() - began < 4
        assert server.request("POST", "/predict", b"x")[0] == 200


def test_headers_are_bounded_in_size() -> None:
    with running() as server, server.connect(b"POST /predict HTTP/1.1\r\nHost: x\r\n") as client:
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                client.sendall(b"A: " + b"b" * 10_000)
                time.sleep(0.002)
        assert server.request("POST", "/predict", b"x")[0] == 200


@pytest.mark.parametrize(
    "sent",
    [b"GET /v2 HTTP/1.1\r\n" + b"a:\r\n" * 5000 + b"\r\n", post(b"x") + b"GET /v2 HTTP/1.1\r\n\r\n" * 5000],
    ids=["headers", "requests"],
)
def test_many_small_things_in_few_bytes_are_refused(sent: bytes) -> None:
    """Each header and each request that waits takes a hundred times its bytes."""
    gate = Gate()
    with running(gate) as server, server.connect(sent) as client:
        assert is_closed(client)
        gate.opened.set()
        assert server.request("POST", "/predict", b"x")[0] == 200


def test_a_few_requests_may_follow_each_other_at_once() -> None:
    with running() as server, server.connect(post(b"x") * 10) as client:
        reader, length = client.makefile("rb"), 0
        for _ in range(10):
            assert reader.readline().startswith(b"HTTP/1.1 200")
            while (line := reader.readline()) != b"\r\n":
                length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else length
            assert json.loads(reader.read(length))["faces"] == []


def test_bodies_must_arrive_in_time() -> None:
    with running(request_s=0.3) as server, server.connect(post(b"half", declared=100)) as client:
        status, headers, answer = read_socket(client)
        assert (status, headers["connection"]) == (408, "close") and "did not arrive" in answer["error"]
        assert is_closed(client)
        until(lambda: server.state.body_bytes == 0)


def test_the_rest_of_a_refused_body_is_read_and_the_connection_serves_on() -> None:
    gate = Gate()
    with running(gate, max_waiting=1) as server, ThreadPoolExecutor(2) as pool:
        others = [pool.submit(server.request, "POST", "/predict", b"x") for _ in range(2)]
        until(lambda: server.state.lanes.waiting == 1)
        body = bytes(2 * 10**6)
        with server.connect(post(body[:100_000], declared=len(body))) as client:
            assert read_socket(client)[0] == 503
            gate.opened.set()
            assert [other.result()[0] for other in others] == [200, 200]
            client.sendall(body[100_000:] + post(b"y"))
            assert read_socket(client)[0] == 200


def test_all_bodies_together_are_bounded() -> None:
    with running(body_memory=10**6) as server:
        slow = [server.connect(post(bytes(200_000), declared=300_000)) for _ in range(4)]
        until(lambda: server.state.body_bytes == 800_000)
        assert "too many bytes" in server.request("POST", "/predict", bytes(300_000))[2]["error"]
        assert server.request("POST", "/predict", bytes(100_000))[0] == 200
        for client in slow:
            client.close()
        until(lambda: server.state.body_bytes == 0)


def test_slow_clients_do_not_keep_others_out(caplog: pytest.LogCaptureFixture) -> None:
    """At the limit the oldest connection without a whole request is closed, never one whose request is computed."""
    gate = Gate()
    with running(gate, connections=8) as server, server.connect(post(b"first")) as first:
        until(lambda: bool(gate.calls))
        slow = [server.connect(b"POST /predict HTTP/1.1\r\n") for _ in range(30)]
        assert server.request("GET", "/v2/health/live")[0] == 200
        assert is_closed(slow[0])
        gate.opened.set()
        assert read_socket(first)[0] == 200
        for client in slow:
            client.close()


def test_connections_that_cannot_be_accepted_are_no_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, failures = asyncio.SelectorEventLoop.sock_accept, iter(range(3))

    async def failing(loop: Any, listener: Any) -> Any:
        result = await accept(loop, listener)
        if next(failures, None) is not None:
            result[0].close()
            raise OSError(24, "Too many open files")
        return result

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", failing)
    with running() as server:
        for _ in range(3):
            server.connect().close()
        until(lambda: caplog.text.count("cannot accept a connection") == 3)
        assert server.request("GET", "/v2/health/live")[0] == 200


@pytest.mark.parametrize("taken", [False, True])
def test_a_client_that_takes_nothing_of_its_answer_is_left(monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    monkeypatch.setattr(connection_module, "STALLED_S", 0.05)
    transport = Mock()
    transport.get_extra_info.return_value = None

    async def stall() -> None:
        connection = HttpServer(ServerState())._connection()
        connection.connection_made(transport)
        connection.pause_writing()
        if taken:
            connection.resume_writing()
        await asyncio.sleep(0.3)

    asyncio.run(stall())
    assert transport.abort.called != taken


@pytest.mark.parametrize(("size", "paused"), [(200_000, False), (300_000, True)])
def test_a_body_that_nobody_takes_is_bounded_and_a_photo_does_not_pause_reading(size: int, paused: bool) -> None:
    transport = Mock()
    transport.get_extra_info.return_value = None
    transport.is_closing.return_value = False

    async def receive() -> None:
        connection = HttpServer(ServerState())._connection()
        connection.connection_made(transport)
        connection.data_received(post(bytes(size), declared=10**6))

    asyncio.run(receive())
    assert transport.pause_reading.called == paused


def test_the_address_of_a_client_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Any program on this machine could claim another."""
    claim = b"POST /v2/repository/models/stub/unload HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n"
    with running() as server, server.connect(claim + b"Content-Length: 0\r\n\r\n") as client:
        assert read_socket(client)[0] == 403
    assert "refused a request from 127.0.0.1" in caplog.text and "192.0.2.1" not in caplog.text


# --- stopping --------------------------------------------------------------------------------------------------------


def test_what_is_not_answered_when_the_grace_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "DRAIN_S", 0.3)
    gate = Gate()
    with running(gate) as server, ThreadPoolExecutor(3) as pool:
        requests: list[Any] = [pool.submit(server.request, "POST", "/predict", b"x") for _ in range(3)]
        until(lambda: server.state.lanes.waiting == 2)
        slow = server.connect(post(b"half", declared=100))
        until(lambda: server.state.body_bytes == 7)
        server.stop()
        for request in requests:
            status, _, answer = request.result(5)
            assert status == 503 and "stopping" in answer["error"]
        assert read_socket(slow)[0] == 503
        gate.opened.set()


def test_after_a_stop_signal_only_what_has_begun_is_answered() -> None:
    """Clients that ask again and again do not keep the server."""
    gate = Gate()
    with running(gate) as server, server.connect(post(b"begun")) as begun, server.connect() as next_one:
        until(lambda: bool(gate.calls))
        server.stop()
        until(lambda: server.state.closed)
        next_one.sendall(post(b"x"))
        status, headers, answer = read_socket(next_one)
        assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
        assert "stopping" in answer["error"] and is_closed(next_one)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        gate.opened.set()
        assert read_socket(begun)[0] == 200 and is_closed(begun)
    assert gate.calls == [b"begun"]


def test_until_then_others_are_answered() -> None:
    with running() as server:
        server.state.drain_s = 0.5
        server.stop()
        assert server.request("POST", "/predict", b"x")[0] == 200
        until(lambda: server.state.closed)


def test_warnings_of_the_server_are_of_few_kinds(caplog: pytest.LogCaptureFixture) -> None:
    """Each refused request has the same message, so that one a minute is written."""
    with caplog.at_level(logging.INFO), running(request_s=0.1) as server:
        for _ in range(3):
            with server.connect(post(b"half", declared=100)) as client:
                assert read_socket(client)[0] == 408
        until(lambda: sum("POST /predict 408" in record.getMessage() for record in caplog.records) == 3)
    refused = [record for record in caplog.records if "408" in record.getMessage()]
    assert {(record.levelno, record.msg) for record in refused} == {(logging.WARNING, "%s %s %d %.0f ms")}
