"""Much more than the server can do, for long, from many: what it does it goes on doing, and it stays small."""

import asyncio
import resource
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from server_process import Server, picture, serving
from stub_server import is_closed, post, read_socket, running

LANES, CALL_S = 2, 0.05


@dataclass
class Tally:
    """Answers by status, with the seconds that each took."""

    seconds: dict[int, list[float]] = field(default_factory=dict)

    def rate(self, status: int, during: float) -> float:
        return len(self.seconds.get(status, [])) / during


async def offer(port: int, body: bytes, each_s: float, during: float) -> Tally:
    """Send a request every so many seconds, whatever becomes of those before."""
    tally, idle = Tally(), deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()

    async def one() -> None:
        began = time.monotonic()
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(body))
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert (status == 503) == (b"\r\nretry-after: " in b"\r\n" + head)
        await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        idle.append((reader, writer))
        tally.seconds.setdefault(status, []).append(time.monotonic() - began)

    end, due, tasks = time.monotonic() + during, time.monotonic(), set()
    while due < end:
        task = asyncio.create_task(one())
        tasks.add(task)
        due += each_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return tally


def test_at_four_times_its_capacity_it_does_what_it_can() -> None:
    """What it cannot do is refused at once, and afterwards it is as quick as before."""
    capacity, during = LANES / CALL_S, 1.5
    with running(lambda data, work: time.sleep(CALL_S), lanes=LANES, max_waiting=8) as server:
        peak = asyncio.run(offer(server.port, b"x", 1 / capacity, 1.0)).rate(200, 1.0)
        tally = asyncio.run(offer(server.port, b"x", 1 / (4 * capacity), during))
        assert tally.seconds.keys() == {200, 503}
        assert tally.rate(200, during) > 0.8 * peak
        refused = sorted(tally.seconds[503])
        assert len(refused) > during * capacity and refused[int(0.9 * len(refused))] < 0.2
        # A queue of 8 before 2 lanes takes 0.2 s.
        assert sorted(tally.seconds[200])[len(tally.seconds[200]) // 2] < 0.5
        began = time.monotonic()
        assert server.request("POST", "/predict", b"x")[0] == 200
        assert time.monotonic() - began < 0.5


def at_capacity(server: Server, body: bytes, during: float) -> float:
    """Return the pictures a second of eight clients that each wait for their answers."""
    end = time.monotonic() + during

    def ask() -> int:
        count = 0
        with socket.create_connection(("127.0.0.1", server.port), 60) as client:
            while time.monotonic() < end:
                client.sendall(post(body))
                assert read_socket(client)[0] == 200
                count += 1
        return count

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(lambda _: ask(), range(8))) / during


@pytest.mark.slow
def test_at_four_times_its_capacity_it_decodes_and_computes_what_it_can(model_file: Path, tmp_path: Path) -> None:
    """Photos of 12 MP in a real process: the cores that refuse and ask are those that decode."""
    body, during = picture(size=(4000, 3000)), 20.0
    with serving(tmp_path, "--model", str(model_file), "--max-waiting", "8") as server:
        peak = at_capacity(server, body, 5.0)
        tally = asyncio.run(offer(server.port, body, 1 / (4 * peak), during))
        after = at_capacity(server, body, 5.0)
        print(
            f"{peak:.0f} and {after:.0f} pictures/s at its capacity, {tally.rate(200, during):.0f} at four times that"
        )
        assert tally.seconds.keys() == {200, 503}
        assert tally.rate(200, during) > 0.6 * min(peak, after) and after > 0.5 * peak
        refused, answered = sorted(tally.seconds[503]), sorted(tally.seconds[200])
        assert len(refused) > during * peak and refused[int(0.9 * len(refused))] < 1
        assert answered[len(answered) // 2] < 1


def resident_mib(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.slow
def test_ten_thousand_idle_connections_keep_nobody_out(model_file: Path, tmp_path: Path) -> None:
    """Those that have not asked for longest are closed, so that a client that does keeps its connection."""
    count = 10_000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 500:
        pytest.skip("too few files may be open here")
    body = picture()
    with serving(tmp_path, "--model", str(model_file)) as server:
        assert server.request("POST", "/predict", body)[0] == 200
        before, idle = resident_mib(server), []
        with socket.create_connection(("127.0.0.1", server.port), 20) as regular:
            for number in range(count):
                idle.append(socket.create_connection(("127.0.0.1", server.port), 20))
                if number % 500 == 0:
                    began = time.monotonic()
                    regular.sendall(post(body))
                    assert read_socket(regular)[0] == 200
                    assert server.request("GET", "/v2/health/ready")[0] == 200
                    assert time.monotonic() - began < 5
        assert is_closed(idle[0])
        assert resident_mib(server) < before + 100
        for client in idle:
            client.close()
        assert server.request("POST", "/predict", body)[0] == 200


@pytest.mark.slow
def test_memory_is_flat_over_a_hundred_thousand_requests(model_file: Path, tmp_path: Path) -> None:
    bodies = [picture(seed) for seed in range(8)]

    def ask(server: Server, count: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), 60) as client:
            for number in range(count):
                client.sendall(post(bodies[number % len(bodies)]))
                answer: tuple[int, Any, Any] = read_socket(client)
                assert answer[0] == 200, answer

    with serving(tmp_path, "--model", str(model_file)) as server, ThreadPoolExecutor(8) as pool:
        sizes = []
        for _ in range(5):
            list(pool.map(lambda _: ask(server, 2500), range(8)))
            sizes.append(resident_mib(server))
        assert sizes[-1] < 1.05 * sizes[0], sizes
