"""The time of a request, its line in the log, and its count."""

import asyncio
import logging
import time

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.server.state import ServerState

_access = logging.getLogger("serving.access")


class Watch:
    """Ends requests whose time is over; writes one short line and one count per request.

    Health checks and scrapes are left out, and so is the query.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in time, log and count it."""
        if scope["type"] != "http" or scope["path"].startswith("/v2/health/") or scope["path"] == "/metrics":
            await self.app(scope, receive, send)
            return
        state = scope["app"].state.server
        state.metrics.begin(scope["path"])
        began = time.perf_counter()
        status, arrived = 0, False

        async def watch_receive() -> Message:
            nonlocal arrived
            message = await receive()
            arrived |= message["type"] == "http.request" and not message.get("more_body", False)
            return message

        async def watch_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            async with asyncio.timeout(state.limits.request_s):
                await self.app(scope, watch_receive, watch_send)
        except (TimeoutError, asyncio.CancelledError) as error:
            if status or not (state.stopping or isinstance(error, TimeoutError)):
                raise
            await _ended(state, arrived=arrived)(scope, receive, watch_send)
        finally:
            seconds = time.perf_counter() - began
            state.metrics.end(scope["path"], status or 500, seconds)
            path = scope["raw_path"].partition(b"?")[0].decode("latin-1")[:100]
            # Many of these say one thing only, and warnings are written once a minute.
            level = logging.WARNING if status in (408, 503, 504) else logging.INFO
            _access.log(level, "%s %s %d %.0f ms", scope["method"], path, status, 1000 * seconds)


def _ended(state: ServerState, *, arrived: bool) -> Response:
    """Return the answer to a request that is ended before it has one; `arrived` means with its whole body."""
    close, seconds = {"Connection": "close"}, f"{state.limits.request_s:g} s"
    if state.stopping:
        return JSONResponse({"error": "the server is stopping; try again"}, 503, headers=close | {"Retry-After": "1"})
    if not arrived:
        return JSONResponse({"error": f"the request did not arrive whole within {seconds}"}, 408, headers=close)
    text = f"there is no answer within {seconds}; send smaller pictures or fewer at once"
    return JSONResponse({"error": text}, 504, headers=close)
