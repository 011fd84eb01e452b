"""The HTTP server: uvicorn's loop, with a bounded number of connections and a stop that takes bounded time."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, Protocol, cast

import uvicorn

from serving.server.http.app import create_app
from serving.server.http.connection import IDLE_S, Connection
from serving.server.http.handshakes import Handshakes
from serving.server.state import ServerState
from serving.server.tls import Certificate

# After a stop signal: how long requests in flight may take, and then how long their connections may stay open.
DRAIN_S = 20.0
CLOSE_S = 5

# Before the next try when no connection can be accepted.
_PAUSE_S = 0.1

_log = logging.getLogger(__name__)


class Service(Protocol):
    """What runs in the event loop of the HTTP server, as long as that does."""

    async def start(self) -> None:
        """Begin; an error ends the server."""

    async def stop(self, seconds: float) -> None:
        """End within so many seconds. Requests in flight have been answered, or their time is over."""


class HttpServer(uvicorn.Server):
    """uvicorn that answers what is in flight after a stop signal, and that stops when a model cannot be loaded."""

    def __init__(
        self, state: ServerState, services: Sequence[Service] = (), *, certificate: Certificate | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(state),
                loop="asyncio",
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # It would believe whom a local client says that it asks for; nothing here needs that.
                proxy_headers=False,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=CLOSE_S,
            )
        )
        self.state = state
        self.services = [*services, *([certificate] if certificate else [])]
        self._handshakes = Handshakes(certificate.context, self._connection) if certificate else None
        self.deadline = 0.0
        self._quiet_until = 0.0
        self._accepting: dict[socket.socket, asyncio.Task[None]] = {}
        # What is answered after a stop signal, from the time on when nothing new is.
        self._begun: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections of the sockets, which the loop's own servers would without a limit on their number."""
        self.servers = []
        for service in self.services:
            await service.start()
        for listener in sockets or []:
            listener.setblocking(False)
            self._accepting[listener] = asyncio.create_task(self._accept(listener))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and close what is open."""
        await self._close()
        if self._handshakes is not None:
            self._handshakes.abort()
        await asyncio.gather(*(service.stop(CLOSE_S) for service in self.services))
        await super().shutdown(sockets)
        self.state.lanes.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to drain; a second signal stops at once."""
        if self.state.draining:
            self.should_exit = self.force_exit = True
        else:
            self._quiet_until = time.monotonic() + self.state.drain_s
            self.deadline = self._quiet_until + DRAIN_S
            self.state.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn, ten times a second, whether to stop."""
        now = time.monotonic()
        if self.state.draining and now >= self._quiet_until:
            if not self.state.closed:
                self.state.closed = True
                self._begun = {*self.server_state.tasks, *self.state.calls}
                await self._close()
            self._begun = {task for task in self._begun if not task.done()}
            self.should_exit |= not self._begun
        if self.state.draining and now > self.deadline:
            self.should_exit = self.state.stopping = True
            for task in {*self.server_state.tasks, *self.state.calls}:
                task.cancel()
        self.should_exit |= bool(self.state.failure)
        return await super().on_tick(counter)

    async def _close(self) -> None:
        """Listen no more: who connects now finds nobody, and asks another server."""
        for task in self._accepting.values():
            task.cancel()
        await asyncio.gather(*self._accepting.values(), return_exceptions=True)
        for listener in self._accepting:
            listener.close()
        self._accepting.clear()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:
                _log.warning("cannot accept a connection: %s", error.strerror)
                await asyncio.sleep(_PAUSE_S)
                continue
            await self._make_room()
            with contextlib.suppress(OSError):  # the client has gone again
                # Without it, the second write of an answer waits for the client's delayed acknowledgment, 40 ms.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._handshakes is not None:
                    self._handshakes.begin(client)
                else:
                    await loop.connect_accepted_socket(self._connection, client)

    async def _make_room(self) -> None:
        """When all are taken, close the one that has been without a whole request for longest, or wait for one."""
        connections = cast(set[Connection], self.server_state.connections)
        while len(connections) + len(self._handshakes or ()) >= self.state.limits.connections:
            if self._handshakes:
                self._handshakes.abort_oldest()
                await asyncio.sleep(0)
                continue
            arriving = [connection for connection in connections if connection.arriving]
            if arriving:
                min(arriving, key=lambda connection: connection.since).abort()
                _log.warning("%d connections are open: the oldest without a whole request is closed", len(connections))
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(_PAUSE_S)

    def _connection(self) -> Connection:
        return Connection(config=self.config, server_state=self.server_state, app_state={})
