"""gRPC's health service, grpc.health.v1: the server, and each of its models."""

import asyncio
from typing import Any, TypeAlias

import grpc
from grpc.aio import ServicerContext
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from serving.runtime.errors import InputError, NotReadyError
from serving.server.grpc.rpcs import SERVICE
from serving.server.state import ServerState

Context: TypeAlias = "ServicerContext[Any, Any]"

# Seconds between two looks at the state for those who watch, and how many may.
_INTERVAL_S = 0.5
_MAX_WATCHING = 64


class Health(health_pb2_grpc.HealthServicer):
    """Answers from the state of the server at that moment.

    The servicer of grpcio-health-checking keeps a copy of all states instead, and forgets who else watches a service
    when one of them leaves.

    Args:
        state: of the server.
    """

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self.stopped = asyncio.Event()
        self._watching = 0

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802
        """Tell whether the server ("" or its service's name) or a model wants requests; NOT_FOUND for another name."""
        status = self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model '{request.service[:80]}' here")
        return HealthCheckResponse(status=status)

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Tell the same, and again whenever it changes."""
        if self._watching >= _MAX_WATCHING:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {_MAX_WATCHING} calls may watch; use Check"
            )
        self._watching += 1
        last = None
        try:
            while not self.stopped.is_set():
                if (status := self._status(request.service)) != last:
                    await context.write(HealthCheckResponse(status=status))
                    last = status
                try:
                    async with asyncio.timeout(_INTERVAL_S):
                        await self.stopped.wait()
                except TimeoutError:
                    continue
        finally:
            self._watching -= 1

    def _status(self, service: str) -> int:
        ready = not self.state.unready
        if service not in ("", SERVICE):
            try:
                self.state.models.get(service)
                ready = not self.state.draining
            except NotReadyError:
                ready = False
            except InputError:
                return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
