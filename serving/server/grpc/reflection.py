"""gRPC's reflection service: the messages of the services, for clients that have no file of them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from serving.server.grpc.calls import Rpc
from serving.server.grpc.messages import parse
from serving.server.state import ServerState

REFLECTION = reflection.SERVICE_NAME
"""The name of the service."""


def reflection_rpcs(services: Sequence[str]) -> Sequence[Rpc]:
    """Return the calls of the service, which tells about these and itself.

    grpcio-reflection makes the answers. Its own handler takes messages of any size, from anybody.
    """
    servicer: Any = reflection.aio.ReflectionServicer([*services, REFLECTION])

    async def answers(state: ServerState, message: bytes) -> AsyncIterator[bytes]:
        async for response in servicer.ServerReflectionInfo(_only(parse(ServerReflectionRequest, message)), None):
            yield response.SerializeToString()

    return (Rpc("ServerReflectionInfo", answers=answers, is_quiet=True),)


async def _only(request: ServerReflectionRequest) -> AsyncIterator[ServerReflectionRequest]:
    yield request
