"""What every call passes before and after its handler: time, message, errors, log and counts."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from grpc.aio import EOF, ServicerContext

from serving.runtime.errors import InputError
from serving.server.errors import status_of, text_of
from serving.server.lanes import BusyError
from serving.server.state import ServerState

Context: TypeAlias = "ServicerContext[Any, Any]"
Answer = Callable[[bytes, Context], Awaitable[bytes]]

# Seconds in which a message must arrive, once there is room for it.
_HTTP_STATUS = {"DEADLINE_EXCEEDED": 504, "CANCELLED": 499, "RESOURCE_EXHAUSTED": 413}

_access = logging.getLogger("serving.access")
_log = logging.getLogger(__name__)


class Calls:
    """The calls of a server, and the bounds that they share.

    Args:
        state: of the server.
    """

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._running: set[asyncio.Task[Any]] = set()
        # gRPC holds a message until all of it is here, and does not say how much it holds: each may be the largest.
        limits = state.limits
        self._room = asyncio.Semaphore(max(1, limits.body_memory // limits.max_body))

    @property
    def busy(self) -> bool:
        """Whether any call has no answer yet."""
        return bool(self._running)

    def cancel(self) -> None:
        """End the calls that have no answer yet; they are refused if the server is stopping."""
        for task in self._running:
            task.cancel()

    def handler(self, name: str, answer: Answer) -> "grpc.RpcMethodHandler[Any, Any]":
        """Make the handler of a call of one message and one answer, both encoded.

        For gRPC it is one with a stream of messages: only those are received when their handler wants it.
        """
        state = self.state

        async def handle(_: object, context: Context) -> bytes:
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            began, held, code = time.perf_counter(), 0, "OK"
            state.metrics.begin(name)
            try:
                async with asyncio.timeout(state.limits.request_s):
                    message = await self._receive(context)
                    held = len(message)
                    state.body_bytes += held
                    if state.body_bytes > state.limits.body_memory:
                        raise BusyError("the server is busy: it receives too many bytes at once; try again soon")
                    return await answer(message, context)
            except (Exception, asyncio.CancelledError) as error:
                code, text, retry = self._refusal(error, context)
                if code == "CANCELLED":
                    raise
                await context.abort(grpc.StatusCode[code], text, (("grpc-retry-pushback-ms", "1000"),) if retry else ())
                raise AssertionError("abort returned") from error
            finally:
                self._running.discard(task)
                state.body_bytes -= held
                seconds = time.perf_counter() - began
                state.metrics.end(name, 200, seconds)
                _access.log(logging.INFO, "gRPC %s %s %.0f ms", name, code, 1000 * seconds)

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _receive(self, context: Context) -> bytes:
        if self._room.locked():
            try:
                async with asyncio.timeout(self.state.limits.wait_s):
                    await self._room.acquire()
            except TimeoutError:
                raise BusyError("the server is busy: it receives too many bytes at once; try again soon") from None
        else:
            await self._room.acquire()
        try:
            message = await context.read()
        finally:
            self._room.release()
        if message is EOF:
            raise InputError("the call ended without a message")
        assert isinstance(message, bytes)
        return message

    def _refusal(self, error: BaseException, context: Context) -> tuple[str, str, bool]:
        """Return the status code, the text and whether to try again of a call that has no answer."""
        seconds = f"{self.state.limits.request_s:g} s"
        if isinstance(error, asyncio.CancelledError):
            if self.state.stopping:
                return "UNAVAILABLE", "the server is stopping; try again", True
            return "CANCELLED", "", False
        if isinstance(error, TimeoutError):
            return "DEADLINE_EXCEEDED", f"there is no answer within {seconds}; send smaller pictures or fewer", False
        assert isinstance(error, Exception)
        status = status_of(error)
        if status.http == 500:
            _log.error("a call failed", exc_info=error)
        return status.grpc, text_of(error), status.retry
