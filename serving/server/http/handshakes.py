"""TLS handshakes that are under way: each has a task of its own, so that a slow client holds up nobody."""

import asyncio
import contextlib
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable

from serving.server.http.connection import HEADERS_S

# asyncio keeps a buffer of 256 KiB for each connection with TLS, and fills it when a client sends much at once.
sslproto.SSLProtocol.max_size = 32 * 1024


class Handshakes:
    """The connections whose TLS handshake has not ended, oldest first.

    Args:
        context: with the certificate.
        connection: makes the protocol of a connection when its handshake has ended.
    """

    def __init__(self, context: ssl.SSLContext, connection: Callable[[], asyncio.BaseProtocol]) -> None:
        self._context = context
        self._connection = connection
        self._tasks: dict[asyncio.Task[None], None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, client: socket.socket) -> None:
        """Start with an accepted connection."""
        task = asyncio.create_task(self._shake(client))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    def abort_oldest(self) -> None:
        """Close the connection that has been at it for the longest time."""
        next(iter(self._tasks)).cancel()

    def abort(self) -> None:
        """Close all of them."""
        for task in self._tasks:
            task.cancel()

    async def _shake(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # what is no TLS, too old, or gone again
            await loop.connect_accepted_socket(
                self._connection, client, ssl=self._context, ssl_handshake_timeout=HEADERS_S
            )
