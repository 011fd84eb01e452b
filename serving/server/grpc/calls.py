"""What every call passes: its key, its time, its message, its errors, its line in the log and its count."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import grpc
from grpc.aio import ServicerContext

from serving.runtime.errors import InputError
from serving.server.errors import headers_of, reason_of, status_of, text_of
from serving.server.exchange import Exchange, make_exchange
from serving.server.grpc.room import Room, SlowClientError
from serving.server.keys import refusal
from serving.server.lanes import BusyError
from serving.server.state import ServerState

Context: TypeAlias = "ServicerContext[Any, Any]"
Answer = Callable[[ServerState, bytes, Context], Awaitable[bytes]]
Answers = Callable[[ServerState, bytes], AsyncIterator[bytes]]

# Bytes of a message without tensors. In memory each may become fifty.
MAX_SMALL = 4096
# Seconds that a message has to arrive when others wait for its place: one with pictures, one without.
_PATIENCE_S = 1.0
_SMALL_PATIENCE_S = 0.2
_SMALL_PLACES = 4
# A client whose deadline is over says so a little before it is over here.
_LATE_S = 0.05

_BUSY = "the server is busy: it receives too many bytes at once; try again soon"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rpc:
    """A call.

    Attributes:
        name: of the call.
        answer: makes the encoded answer from the encoded message.
        answers: makes the encoded answers to each message of a stream; a call has this or `answer`.
        endpoint: what it is called in the metrics.
        is_open: it needs no key.
        is_admin: it needs the key of an administrator.
        is_quiet: neither logged nor counted, and a stop does not wait for it.
        has_message: False for a message that is not read, so that the call waits for nothing.
        in_lane: it needs a lane, so that its message, which has tensors, is not received when the queue is full.
    """

    name: str
    answer: Answer | None = None
    answers: Answers | None = None
    endpoint: str = "other"
    is_open: bool = False
    is_admin: bool = False
    is_quiet: bool = False
    has_message: bool = True
    in_lane: bool = False


class _KeyRefusedError(Exception):
    """A call without the key that it needs; `unknown` says that it has no known one."""

    def __init__(self, text: str, *, unknown: bool) -> None:
        super().__init__(text)
        self.unknown = unknown


class _StoppingError(Exception):
    """A call for a model that came after the server had closed itself to new work."""


class _Refusal(NamedTuple):
    """Why a call has no answer: gRPC's code, what the client is told, the HTTP status that says the same."""

    code: grpc.StatusCode
    text: str
    http: int
    retry_after_s: int = 0


class Calls(grpc.GenericRpcHandler):
    """The calls of services, and the bounds that they share.

    Messages without tensors have room of their own, so that pictures do not hold up health checks: a quarter of
    `body_memory` more, but for one and at most for four of the largest size.

    Args:
        state: of the server.
        services: name of a service -> its calls.
    """

    def __init__(self, state: ServerState, services: Mapping[str, Sequence[Rpc]]) -> None:
        self.state = state
        self._rpcs = {f"/{service}/{rpc.name}": rpc for service, rpcs in services.items() for rpc in rpcs}
        places, wait_s = max(1, state.limits.body_memory // state.limits.max_body), state.limits.wait_s
        self._tensors = Room(places, _PATIENCE_S, wait_s)
        self._small = Room(min(_SMALL_PLACES, max(1, places // 4)), _SMALL_PATIENCE_S, wait_s)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return gRPC's handler of a call; None when there is no such call here.

        It is one for a stream of messages, also where one is taken: for one message, gRPC would receive that whatever
        its size before anything here is asked.
        """
        rpc = self._rpcs.get(handler_call_details.method)
        if rpc is None:
            return None
        # Asked again, gRPC would make the metadata anew, which takes a tenth of the time of a small call.
        metadata = handler_call_details.invocation_metadata

        async def handle(_: object, context: Context) -> bytes:
            return await self._handle(rpc, dict(metadata), context)

        if rpc.answers is not None:
            return grpc.stream_stream_rpc_method_handler(handle)
        return grpc.stream_unary_rpc_method_handler(handle)

    async def _handle(self, rpc: Rpc, metadata: Mapping[str, str | bytes], context: Context) -> bytes:
        state, task = self.state, asyncio.current_task()
        assert task is not None
        said = str(metadata.get("x-request-id", "")), str(metadata.get("traceparent", ""))
        exchange = make_exchange("gRPC", rpc.name, rpc.endpoint, *said)
        trailing = (("x-request-id", exchange.id),)
        if not rpc.is_quiet:
            state.calls.add(task)
            state.begin(exchange)
        try:
            if not rpc.is_open:
                self._check_key(rpc, metadata, context)
            if state.closed and rpc.in_lane:
                raise _StoppingError
            answer = await (self._answer_one(rpc, context) if rpc.answer else self._answer_all(rpc, context))
            exchange.status = 200
            context.set_trailing_metadata(trailing)
            return answer
        except (Exception, asyncio.CancelledError) as error:
            refused = self._refusal(error, exchange)
            if refused is None:  # nobody waits for it
                remaining = context.time_remaining()
                exchange.status = 499 if remaining is None or remaining > _LATE_S else 504
                raise
            exchange.status = refused.http
            pushback = (("grpc-retry-pushback-ms", str(1000 * refused.retry_after_s)),) if refused.retry_after_s else ()
            await context.abort(refused.code, refused.text, (*trailing, *pushback))
        finally:
            if not rpc.is_quiet:
                state.calls.discard(task)
                state.finish(exchange)

    def _check_key(self, rpc: Rpc, metadata: Mapping[str, str | bytes], context: Context) -> None:
        headers = {name: value for name, value in metadata.items() if isinstance(value, str)}
        refused = refusal(self.state.keys, headers, context.peer(), admin=rpc.is_admin)
        if refused is not None:
            raise _KeyRefusedError(refused.text, unknown=refused.unknown)

    async def _answer_one(self, rpc: Rpc, context: Context) -> bytes:
        """Receive the message of a call and return the answer."""
        assert rpc.answer is not None
        state, held = self.state, 0
        try:
            async with asyncio.timeout(state.limits.request_s):
                if rpc.in_lane:
                    state.lanes.check_queue()
                message = await self._receive(rpc, context) if rpc.has_message else b""
                if message is None:
                    raise InputError(f"the call has no message, or one of more than {state.limits.max_body} bytes")
                held = len(message)
                state.body_bytes += held
                if state.body_bytes > state.limits.body_memory:
                    raise BusyError(_BUSY)
                return await rpc.answer(state, message, context)
        finally:
            state.body_bytes -= held

    async def _answer_all(self, rpc: Rpc, context: Context) -> bytes:
        """Receive the messages of a stream, each in bounded time, and send the answers."""
        assert rpc.answers is not None
        while True:
            async with asyncio.timeout(self.state.limits.request_s):
                message = await self._receive(rpc, context)
            if message is None:
                return b""
            async for answer in rpc.answers(self.state, message):
                await context.write(answer)

    async def _receive(self, rpc: Rpc, context: Context) -> bytes | None:
        """Receive the next message of a call; None when there is no more.

        Raises:
            BusyError: no room became free in time.
            SlowClientError: it did not arrive, and others waited.
            InputError: it is too large.
        """
        if rpc.in_lane:
            return await self._tensors.receive(context)
        message = await self._small.receive(context)
        if message is not None and len(message) > MAX_SMALL:
            raise InputError(f"the message of {rpc.name} has {len(message)} bytes; at most {MAX_SMALL}")
        return message

    def _refusal(self, error: BaseException, exchange: Exchange) -> _Refusal | None:
        """Count why a call has no answer, and return what the client is told; None when it has left."""
        state = self.state
        if isinstance(error, asyncio.CancelledError) and not state.stopping:
            return None
        if isinstance(error, asyncio.CancelledError | _StoppingError):
            state.refused("stopping")
            return _Refusal(grpc.StatusCode.UNAVAILABLE, "the server is stopping; try again", 503, 1)
        if isinstance(error, SlowClientError):
            state.refused("slow_client")
            return _Refusal(grpc.StatusCode.UNAVAILABLE, str(error), 408, 1)
        if isinstance(error, _KeyRefusedError):
            state.refused("unauthorized")
            code = grpc.StatusCode.UNAUTHENTICATED if error.unknown else grpc.StatusCode.PERMISSION_DENIED
            return _Refusal(code, str(error), 401 if error.unknown else 403)
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
