"""What every call passes before and after its function: its key, time, message, errors, log line and count."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from grpc.aio import ServicerContext

from serving.runtime.errors import InputError
from serving.server.errors import headers_of, status_of, text_of
from serving.server.lanes import BusyError
from serving.server.state import ServerState

Context: TypeAlias = "ServicerContext[Any, Any]"
Answer = Callable[[ServerState, bytes, Context], Awaitable[bytes]]

# How outcomes count that are no errors of a function, by the HTTP status that says the same. 499 is nginx's.
_HTTP_STATUS = {"OK": 200, "CANCELLED": 499, "DEADLINE_EXCEEDED": 504, "UNAVAILABLE": 503}
# Many of these say one thing only, and warnings are written once a minute.
_WARNED = ("DEADLINE_EXCEEDED", "UNAVAILABLE")

_BUSY = "the server is busy: it receives too many bytes at once; try again soon"

_access = logging.getLogger("serving.access")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rpc:
    """A call of one message and one answer.

    Attributes:
        answer: makes the encoded answer from the encoded message.
        like: the path of the HTTP request that does the same, for the metrics.
        is_open: it needs no key.
        is_admin: it needs the key of an administrator.
        is_quiet: neither logged nor counted.
    """

    answer: Answer
    like: str = "/v2"
    is_open: bool = False
    is_admin: bool = False
    is_quiet: bool = False


@dataclass(slots=True)
class _Refusal:
    """Why a call has no answer: gRPC's code, what the client is told, the HTTP status, and headers."""

    code: str
    text: str = ""
    http: int = 0
    retry_after_s: int = 0


class Calls:
    """The calls of a server, and the bounds that they share.

    Args:
        state: of the server.
    """

    def __init__(self, state: ServerState) -> None:
        self.state = state
        # gRPC holds a message until all of it is here, and does not say how much it holds: each may be the largest.
        self._room = asyncio.Semaphore(max(1, state.limits.body_memory // state.limits.max_body))

    def handler(self, name: str, rpc: Rpc) -> "grpc.RpcMethodHandler[Any, Any]":
        """Make gRPC's handler of a call.

        It is one for a stream of messages, of which it takes one: for one message, gRPC would receive that whatever
        its size before anything here is asked.
        """

        async def handle(_: object, context: Context) -> bytes:
            return await self._handle(name, rpc, context)

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _handle(self, name: str, rpc: Rpc, context: Context) -> bytes:
        state, task = self.state, asyncio.current_task()
        assert task is not None
        began, code, http = time.perf_counter(), "OK", 200
        state.calls.add(task)
        if not rpc.is_quiet:
            state.metrics.begin(rpc.like)
        try:
            async with asyncio.timeout(state.limits.request_s), self._message(context) as message:
                return await rpc.answer(state, message, context)
        except (Exception, asyncio.CancelledError) as error:
            refusal = self._refusal(error, context)
            code, http = refusal.code, refusal.http
            if code == "CANCELLED":
                raise
            pushback = ("grpc-retry-pushback-ms", str(1000 * refusal.retry_after_s))
            await context.abort(grpc.StatusCode[code], refusal.text, (pushback,) if refusal.retry_after_s else ())
        finally:
            state.calls.discard(task)
            if not rpc.is_quiet:
                seconds = time.perf_counter() - began
                state.metrics.end(rpc.like, http, seconds)
                level = logging.WARNING if code in _WARNED else logging.INFO
                _access.log(level, "%s %s %s %.0f ms", "gRPC", name, code, 1000 * seconds)

    @contextlib.asynccontextmanager
    async def _message(self, context: Context) -> AsyncIterator[bytes]:
        """Receive the message of a call, and count it as held until the context ends.

        Raises:
            BusyError: too many requests wait already, or all messages together are too large.
            InputError: there is none.
        """
        state, held = self.state, 0
        try:
            try:
                async with asyncio.timeout(state.limits.wait_s):
                    await self._room.acquire()
            except TimeoutError:
                raise BusyError(_BUSY) from None
            try:
                message = await context.read()
            finally:
                self._room.release()
            if not isinstance(message, bytes):
                raise InputError("the call has no message")
            held = len(message)
            state.body_bytes += held
            if state.body_bytes > state.limits.body_memory:
                raise BusyError(_BUSY)
            yield message
        finally:
            state.body_bytes -= held

    def _refusal(self, error: BaseException, context: Context) -> _Refusal:
        seconds = f"{self.state.limits.request_s:g} s"
        if isinstance(error, asyncio.CancelledError):
            if self.state.stopping:
                return _Refusal("UNAVAILABLE", "the server is stopping; try again", 503, 1)
            late = context.time_remaining() == 0
            return _Refusal("CANCELLED", http=504 if late else 499)
        assert isinstance(error, Exception)
        if type(error) is TimeoutError:
            text = f"there is no answer within {seconds}; send smaller pictures or fewer at once"
            return _Refusal("DEADLINE_EXCEEDED", text, 504)
        status = status_of(error)
        if status.http == 500:
            _log.error("a call failed", exc_info=error)
        retry = int(headers_of(error).get("Retry-After", 0))
        return _Refusal(status.grpc, text_of(error), status.http, retry)
