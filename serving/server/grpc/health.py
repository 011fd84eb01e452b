"""gRPC's health service, grpc.health.v1: the server, and each of its models."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from serving.runtime.errors import InputError, NotFoundError, NotReadyError
from serving.server.grpc.calls import Context, Rpc
from serving.server.grpc.messages import parse
from serving.server.grpc.rpcs import SERVICE
from serving.server.lanes import BusyError
from serving.server.state import ServerState

HEALTH = DESCRIPTOR.services_by_name["Health"].full_name
"""The name of the service."""

# Seconds between two looks at the state for those who watch, and how many may.
_INTERVAL_S = 0.5
_MAX_WATCHING = 64


class Health:
    """Answers from the state of the server at that moment.

    The servicer of grpcio-health-checking keeps a copy of all states instead, forgets who else watches a service
    when one of them leaves, and takes messages of any size.

    Attributes:
        stopped: nobody watches any longer.
    """

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self._watching = 0

    @property
    def rpcs(self) -> Sequence[Rpc]:
        """The calls of the service."""
        return (
            Rpc("Check", self._check, is_open=True, is_quiet=True),
            Rpc("Watch", answers=self._watch, is_open=True, is_quiet=True),
        )

    async def _check(self, state: ServerState, message: bytes, context: Context) -> bytes:
        """Tell whether the server ("" or its service's name) or a model wants requests; NOT_FOUND for another name."""
        service = parse(HealthCheckRequest, message).service
        status = _status(state, service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            raise NotFoundError(f"there is no model '{service[:80]}' here")
        return HealthCheckResponse(status=status).SerializeToString()

    async def _watch(self, state: ServerState, message: bytes) -> AsyncIterator[bytes]:
        """Tell the same, and again whenever it changes."""
        service, last = parse(HealthCheckRequest, message).service, None
        if self._watching >= _MAX_WATCHING:
            raise BusyError(f"at most {_MAX_WATCHING} calls may watch; use Check")
        self._watching += 1
        try:
            while not self.stopped.is_set():
                if (status := _status(state, service)) != last:
                    yield HealthCheckResponse(status=status).SerializeToString()
                    last = status
                try:
                    async with asyncio.timeout(_INTERVAL_S):
                        await self.stopped.wait()
                except TimeoutError:
                    continue
        finally:
            self._watching -= 1


def _status(state: ServerState, service: str) -> int:
    unready = state.unready
    if service not in ("", SERVICE):
        try:
            state.models.get(service)
            unready = state.hindered
        except NotReadyError as error:
            unready = str(error)
        except InputError:
            return HealthCheckResponse.SERVICE_UNKNOWN
    return HealthCheckResponse.NOT_SERVING if unready else HealthCheckResponse.SERVING
