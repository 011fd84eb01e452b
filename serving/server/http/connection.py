"""One connection: uvicorn's protocol, with limits on the size of headers and on the times of a slow client."""

import asyncio
import json
import re
import sys
import time
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# From the connection, or from the first byte of a request, to the end of its headers.
HEADERS_S = 10.0
# Without a request; longer than gateways keep theirs, so that none uses a connection at the moment it closes.
IDLE_S = 75
# Without taking any of an answer.
STALLED_S = 30.0
# Of the headers of one request, its first line included; and their number, each of which takes more than its bytes.
MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 128
# Of a body that is here and that nobody has taken; uvicorn's 64 KiB would stop and start reading for every photo.
MAX_UNREAD = 256 * 1024
# Requests of a connection that wait for the answer to an earlier one; uvicorn would keep any number.
MAX_PIPELINED = 16

_UPGRADE = re.compile(rb"\r\nupgrade(?=[ \t]*:)", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """A connection whose client must send headers and take answers in time.

    Attributes:
        since: when it began, or its last answer had been sent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.since = time.monotonic()
        self._body_open = False
        self._header_bytes = 0
        self._arrival_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    @property
    def arriving(self) -> bool:
        """Whether no whole request is here: the client is idle or still sends."""
        return self._idle or self.cycle.more_body

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._arrival_timer = self.loop.call_later(HEADERS_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        for timer in (self._arrival_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent; close when its headers are too large.

        The rest of a body whose request has been answered must arrive in time like headers.
        """
        in_body = self._body_open
        super().data_received(data if in_body else _without_upgrade(data))
        if not self._idle or self.transport.is_closing():
            return
        if self._arrival_timer is None:
            self._arrival_timer = self.loop.call_later(HEADERS_S, self.transport.abort)
        self._header_bytes += 0 if in_body or self._body_open else len(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            self.send_400_response(f"the headers are larger than {MAX_HEADER_BYTES} bytes; send fewer or shorter ones")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; close when there are too many."""
        if len(self.headers) >= MAX_HEADERS:
            raise httptools.HttpParserError(f"more than {MAX_HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin with a request whose headers are here; close when too many wait."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise httptools.HttpParserError(f"more than {MAX_PIPELINED} requests wait for an answer")
        self._body_open, self._header_bytes = True, 0
        if self._arrival_timer is not None:
            self._arrival_timer.cancel()
            self._arrival_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; read no more while much of it waits to be taken."""
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > MAX_UNREAD:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Note the end of a body."""
        self._body_open = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.since = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for a client that takes nothing of its answer."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with a client that has taken most of what was sent."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        if error := sys.exception():
            # What a callback above has raised lies below the parser's own error, which says nothing of it.
            msg = f"this is no valid request of HTTP/1.1: {error.__context__ or error}"
        body = json.dumps({"error": msg}).encode()
        lines = (
            b"HTTP/1.1 400 Bad Request",
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        )
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()


def _without_upgrade(data: bytes) -> bytes:
    """Rename the header `Upgrade` in the first request of some bytes.

    Clients may offer HTTP/2 with any request (RFC 7540, section 3.2; Java's does). The parser would drop its body.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nignored", head) + end + rest if _UPGRADE.search(head) else data
