"""Room for messages, under any order of calls that send, stall and leave."""

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.grpc.room import Room, SlowClientError
from serving.server.lanes import BusyError

PLACES = 3


@dataclass
class Call:
    """A call as gRPC gives it: the name of its connection, and a message that comes after some time, or never."""

    connection: str
    seconds: float
    counter: list[int]

    def peer(self) -> str:
        return self.connection

    async def read(self) -> bytes:
        self.counter.append(1)
        assert len(self.counter) <= PLACES
        try:
            await asyncio.sleep(self.seconds)
            return b"x"
        finally:
            self.counter.pop()


calls = st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.001, 60.0]), st.booleans())


async def receive(room: Room, call: Any) -> str:
    try:
        return str(await room.receive(call))
    except (SlowClientError, BusyError) as error:
        return type(error).__name__


@settings(max_examples=12, deadline=None)
@given(st.lists(calls, max_size=30))
def test_places_are_never_exceeded_and_all_come_back(drawn: list[tuple[str, float, bool]]) -> None:
    async def run() -> None:
        room, counter = Room(PLACES, 0.003, 0.02), list[int]()
        tasks = []
        for connection, seconds, leaves in drawn:
            task = asyncio.create_task(receive(room, Call(connection, seconds, counter)))
            tasks.append(task)
            if leaves:
                await asyncio.sleep(0)
                asyncio.get_running_loop().call_later(0.002, task.cancel)
        await asyncio.sleep(0.04)
        # A message that nobody waits for may take its time.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not room._peers and room._free == PLACES

    asyncio.run(run())


def test_a_connection_with_many_calls_takes_no_place_of_another() -> None:
    async def run() -> None:
        room, counter = Room(PLACES, 60, 60), list[int]()
        silent = [asyncio.create_task(receive(room, Call("a", 60, counter))) for _ in range(50)]
        await asyncio.sleep(0)
        for _ in range(20):
            assert await asyncio.wait_for(receive(room, Call("b", 0, counter)), 1) == "b'x'"
        for task in silent:
            task.cancel()
        await asyncio.gather(*silent, return_exceptions=True)

    asyncio.run(run())
