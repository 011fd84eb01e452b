"""The time of a request, its id, its line in the log, its count and its trace."""

import asyncio
import logging

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.server.errors import text_of
from serving.server.exchange import Exchange, make_exchange
from serving.server.http.guard import is_check, with_headers
from serving.server.metrics import endpoint_of
from serving.server.state import ServerState

_log = logging.getLogger(__name__)


class Watch:
    """Ends requests whose time is over; writes one short line and one count per request.

    Health checks and scrapes are left out, and so is the query.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in time, log and count it."""
        if scope["type"] != "http" or is_check(scope["path"]):
            await self.app(scope, receive, with_headers(send))
            return
        state: ServerState = scope["app"].state.server
        exchange = _exchange(scope)
        state.begin(exchange)
        arrived = False

        async def watch_receive() -> Message:
            nonlocal arrived
            message = await receive()
            arrived |= message["type"] == "http.request" and not message.get("more_body", False)
            return message

        async def note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            await send(message)

        watch_send = with_headers(note_status, (b"x-request-id", exchange.id.encode()))
        try:
            if state.closed:
                await _stopping(state)(scope, receive, watch_send)
                return
            async with asyncio.timeout(state.limits.request_s):
                await self.app(scope, watch_receive, watch_send)
        except (TimeoutError, asyncio.CancelledError) as error:
            if exchange.status or not (state.stopping or isinstance(error, TimeoutError)):
                raise
            await _ended(state, exchange, arrived=arrived)(scope, receive, watch_send)
        except Exception as error:
            if exchange.status:
                raise
            _log.error("request %s failed", exchange.id, exc_info=error)
            text = f"{text_of(error)}: request {exchange.id}"
            await JSONResponse({"error": text}, 500)(scope, receive, watch_send)
        finally:
            state.finish(exchange)


def _exchange(scope: Scope) -> Exchange:
    request_id = traceparent = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request_id = value
        elif name == b"traceparent":
            traceparent = value
    path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
    said = request_id.decode("latin-1"), traceparent.decode("latin-1")
    return make_exchange(scope["method"], path, endpoint_of(scope["path"]), *said)


def _ended(state: ServerState, exchange: Exchange, *, arrived: bool) -> Response:
    """Return the answer to a request that is ended before it has one; `arrived` means with its whole body."""
    close, seconds = {"Connection": "close"}, f"{state.limits.request_s:g} s"
    if state.stopping:
        return _stopping(state)
    if not arrived:
        state.refused("slow_client")
        return JSONResponse({"error": f"the request did not arrive whole within {seconds}"}, 408, headers=close)
    state.refused("deadline")
    text = f"there is no answer within {seconds}; send smaller pictures or fewer at once"
    return JSONResponse({"error": text}, 504, headers=close)


def _stopping(state: ServerState) -> Response:
    state.refused("stopping")
    text, headers = "the server is stopping; try again", {"Connection": "close", "Retry-After": "1"}
    return JSONResponse({"error": text}, 503, headers=headers)
