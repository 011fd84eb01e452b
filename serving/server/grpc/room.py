"""Room to receive messages: how many may arrive at the same time, and whose turn it is."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from grpc.aio import ServicerContext

from serving.server.lanes import BusyError

_BUSY = "the server is busy: it receives too many messages at once; try again soon"


class SlowClientError(Exception):
    """A message did not arrive while others waited for its place."""


@dataclass(eq=False, slots=True)
class _Peer:
    """A connection.

    Attributes:
        receiving: of each of its messages that are received when that began; the oldest first.
        places: that it has.
        waiting: its calls that wait for a place; the oldest first.
        turn: when it was given one last.
    """

    receiving: dict[asyncio.Timeout, float] = field(default_factory=dict)
    places: int = 0
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)
    turn: int = 0


class Room:
    """Places for messages that are received; every connection has a fair share of them.

    gRPC holds a message until all of it is here and does not say how much it holds: each may be the largest. So their
    number is bounded. A connection that has a place never takes the last one, a free place goes to who has fewest, and
    who waits for long takes the place of the oldest message of the connection that has most.

    Args:
        places: how many there are.
        patience_s: seconds that a message has to arrive when others wait.
        wait_s: seconds that a call waits for a place.
    """

    def __init__(self, places: int, patience_s: float, wait_s: float) -> None:
        self._free = places
        self._patience_s = patience_s
        self._wait_s = wait_s
        self._peers: dict[str, _Peer] = {}
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None

    async def receive(self, context: "ServicerContext[Any, Any]") -> bytes | None:
        """Receive the next message of a call; None when there is no more, or it is larger than the server takes.

        Raises:
            BusyError: no place became free in time.
            SlowClientError: the message did not arrive, and others waited.
        """
        name = context.peer()
        peer = self._peers.setdefault(name, _Peer())
        try:
            await self._enter(peer)
            return await self._read(peer, context)
        finally:
            if not peer.places and not peer.waiting:
                self._peers.pop(name, None)

    async def _read(self, peer: _Peer, context: "ServicerContext[Any, Any]") -> bytes | None:
        limit = asyncio.timeout(None)
        try:
            async with limit:
                peer.receiving[limit] = asyncio.get_running_loop().time()
                self._look()
                message = await context.read()
        except TimeoutError:
            if not limit.expired():
                raise
            raise SlowClientError("the message did not arrive while others waited") from None
        finally:
            peer.receiving.pop(limit, None)
            self._leave(peer)
        return message if isinstance(message, bytes) else None

    async def _enter(self, peer: _Peer) -> None:
        """Take a place."""
        if not peer.waiting and self._may_take(peer):
            self._take(peer)
            return
        future = asyncio.get_running_loop().create_future()
        peer.waiting.append(future)
        self._look()
        try:
            async with asyncio.timeout(self._wait_s):
                await future
        except BaseException as error:
            if future in peer.waiting:
                peer.waiting.remove(future)
            elif not future.cancelled():
                self._leave(peer)
            if isinstance(error, TimeoutError):
                raise BusyError(_BUSY) from None
            raise

    def _may_take(self, peer: _Peer) -> bool:
        return self._free > (1 if peer.places else 0)

    def _take(self, peer: _Peer) -> None:
        self._free -= 1
        peer.places += 1
        self._turns += 1
        peer.turn = self._turns

    def _leave(self, peer: _Peer) -> None:
        """Give a place back; who has fewest takes it, of several who had none for longest."""
        self._free += 1
        peer.places -= 1
        while waiting := [one for one in self._peers.values() if one.waiting and self._may_take(one)]:
            first = min(waiting, key=lambda one: (one.places, one.turn))
            future = first.waiting.popleft()
            if not future.cancelled():
                self._take(first)
                future.set_result(None)
        self._look()

    def _look(self) -> None:
        """End the message whose time is over if somebody waits, or look again when it is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        peers = self._peers.values()
        if not any(one.waiting for one in peers):
            return
        # A message that was ended has its place until its task knows; one that was given a place begins soon.
        if any(one.places > len(one.receiving) for one in peers):
            return
        most = max((one.places for one in peers if one.receiving), default=0)
        if not most:
            return
        loop = asyncio.get_running_loop()
        peer = min((one for one in peers if one.places == most), key=lambda one: next(iter(one.receiving.values())))
        limit, since = next(iter(peer.receiving.items()))
        if loop.time() < since + self._patience_s:
            self._timer = loop.call_at(since + self._patience_s, self._look)
            return
        del peer.receiving[limit]
        limit.reschedule(loop.time())
