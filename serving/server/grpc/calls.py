"""What every call passes: its key, its time, its message, its errors, its line in the log and its count."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import grpc
from grpc.aio import ServicerContext

from serving.runtime.errors import InputError
from serving.server.errors import headers_of, reason_of, status_of, text_of
from serving.server.exchange import Exchange, make_exchange
from serving.server.grpc.keys import KeyRefusedError, check_key
from serving.server.lanes import BusyError
from serving.server.state import ServerState

Context: TypeAlias = "ServicerContext[Any, Any]"
Answer = Callable[[ServerState, bytes, Context], Awaitable[bytes]]

# Seconds that a call waits for room to receive its message before the oldest that is received must go.
_PATIENCE_S = 1.0
# A client whose deadline is over says so a little before it is over here.
_LATE_S = 0.05

_BUSY = "the server is busy: it receives too many bytes at once; try again soon"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rpc:
    """A call of one message and one answer.

    Attributes:
        name: of the call.
        answer: makes the encoded answer from the encoded message.
        endpoint: what it is called in the metrics.
        is_open: it needs no key.
        is_admin: it needs the key of an administrator.
        is_quiet: neither logged nor counted, and its message is not read, so that it waits for nothing.
        in_lane: it needs a lane, so that its message is not received when the queue is full.
    """

    name: str
    answer: Answer
    endpoint: str = "other"
    is_open: bool = False
    is_admin: bool = False
    is_quiet: bool = False
    in_lane: bool = False


class _Refusal(NamedTuple):
    """Why a call has no answer: gRPC's code, what the client is told, the HTTP status that says the same."""

    code: grpc.StatusCode
    text: str
    http: int
    retry_after_s: int = 0


class Calls(grpc.GenericRpcHandler):
    """The calls of a service, and the bounds that they share.

    Args:
        state: of the server.
        service: its name.
        rpcs: its calls.
    """

    def __init__(self, state: ServerState, service: str, rpcs: Sequence[Rpc]) -> None:
        self.state = state
        self._rpcs = {f"/{service}/{rpc.name}": rpc for rpc in rpcs}
        # gRPC holds a message until all of it is here, and does not say how much it holds: each may be the largest.
        self._room = asyncio.Semaphore(max(1, state.limits.body_memory // state.limits.max_body))
        # The tasks whose messages are received, the oldest first, and those of them that took too long.
        self._receiving: dict[asyncio.Task[Any], None] = {}
        self._slow: set[asyncio.Task[Any] | None] = set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return gRPC's handler of a call; None when there is no such call here.

        It is one for a stream of messages, of which it takes one: for one message, gRPC would receive that whatever
        its size before anything here is asked.
        """
        rpc = self._rpcs.get(handler_call_details.method)
        if rpc is None:
            return None
        # Asked again, gRPC would make the metadata anew, which takes a tenth of the time of a small call.
        metadata = handler_call_details.invocation_metadata

        async def handle(_: object, context: Context) -> bytes:
            return await self._handle(rpc, dict(metadata), context)

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _handle(self, rpc: Rpc, metadata: Mapping[str, str | bytes], context: Context) -> bytes:
        state, task, held = self.state, asyncio.current_task(), 0
        assert task is not None
        said = str(metadata.get("x-request-id", "")), str(metadata.get("traceparent", ""))
        exchange = make_exchange("gRPC", rpc.name, rpc.endpoint, *said)
        trailing = (("x-request-id", exchange.id),)
        state.calls.add(task)
        if not rpc.is_quiet:
            state.begin(exchange)
        try:
            if not rpc.is_open:
                check_key(state, metadata, context.peer, is_admin=rpc.is_admin)
            async with asyncio.timeout(state.limits.request_s):
                if rpc.in_lane:
                    state.lanes.check_queue()
                message = b"" if rpc.is_quiet else await self._receive(context)
                held = len(message)
                state.body_bytes += held
                if state.body_bytes > state.limits.body_memory:
                    raise BusyError(_BUSY)
                answer = await rpc.answer(state, message, context)
            exchange.status = 200
            context.set_trailing_metadata(trailing)
            return answer
        except (Exception, asyncio.CancelledError) as error:
            refusal = self._refusal(error, exchange)
            if refusal is None:  # nobody waits for it
                remaining = context.time_remaining()
                exchange.status = 499 if remaining is None or remaining > _LATE_S else 504
                raise
            exchange.status = refusal.http
            pushback = (("grpc-retry-pushback-ms", str(1000 * refusal.retry_after_s)),) if refusal.retry_after_s else ()
            await context.abort(refusal.code, refusal.text, (*trailing, *pushback))
        finally:
            state.calls.discard(task)
            state.body_bytes -= held
            if not rpc.is_quiet:
                state.finish(exchange)

    async def _receive(self, context: Context) -> bytes:
        """Receive the message of a call.

        Raises:
            BusyError: no room became free in time.
            InputError: there is none.
        """
        task = asyncio.current_task()
        assert task is not None
        if self._room.locked():
            await self._make_room()
        else:
            await self._room.acquire()
        self._receiving[task] = None
        try:
            message = await context.read()
        finally:
            self._receiving.pop(task, None)
            self._room.release()
        if not isinstance(message, bytes):
            raise InputError(f"the call has no message, or one of more than {self.state.limits.max_body} bytes")
        return message

    async def _make_room(self) -> None:
        """Wait for room to receive a message; end the oldest of those that are received if none becomes free soon."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._room.acquire()
                return
        except TimeoutError:
            pass
        if self._receiving:
            oldest = next(iter(self._receiving))
            del self._receiving[oldest]
            self._slow.add(oldest)
            oldest.cancel()
        try:
            async with asyncio.timeout(self.state.limits.wait_s):
                await self._room.acquire()
        except TimeoutError:
            raise BusyError(_BUSY) from None

    def _refusal(self, error: BaseException, exchange: Exchange) -> _Refusal | None:
        """Count why a call has no answer, and return what the client is told; None when it has left."""
        state = self.state
        if isinstance(error, asyncio.CancelledError):
            if (task := asyncio.current_task()) in self._slow:
                self._slow.discard(task)
                state.refused("slow_client")
                return _Refusal(grpc.StatusCode.UNAVAILABLE, "the message did not arrive while others waited", 408, 1)
            if not state.stopping:
                return None
            state.refused("stopping")
            return _Refusal(grpc.StatusCode.UNAVAILABLE, "the server is stopping; try again", 503, 1)
        if isinstance(error, KeyRefusedError):
            state.refused("unauthorized")
            return _Refusal(error.code, str(error), 401 if error.code == grpc.StatusCode.UNAUTHENTICATED else 403)
        if type(error) is TimeoutError:
            state.refused("deadline")
            text = f"there is no answer within {state.limits.request_s:g} s; send smaller pictures or fewer at once"
            return _Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, text, 504)
        assert isinstance(error, Exception)
        state.refused(reason_of(error))
        status, text = status_of(error), text_of(error)
        if status.http == 500:
            _log.error("request %s failed", exchange.id, exc_info=error)
            text = f"{text}: request {exchange.id}"
        retry_after_s = int(headers_of(error).get("Retry-After", 0))
        return _Refusal(grpc.StatusCode[status.grpc], text, status.http, retry_after_s)
