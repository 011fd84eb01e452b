"""The gRPC server: the Open Inference Protocol, health and reflection, in the event loop of the HTTP server."""

import logging
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from serving.server.grpc.calls import Calls, Context
from serving.server.grpc.credentials import Credentials
from serving.server.grpc.health import Health
from serving.server.grpc.rpcs import RPCS, SERVICE
from serving.server.state import ServerState

# Open connections, and calls of each that have no answer yet.
MAX_CONNECTIONS = 100
MAX_STREAMS = 100
# Bytes of a message that gRPC holds before anybody asks for it, and of the metadata of a call.
_WINDOW = 64 * 1024
_MAX_METADATA = 16 * 1024
# After the calls in flight have been answered: until the last answers have left.
_CLOSE_S = 0.5

_log = logging.getLogger(__name__)


class GrpcServer:
    """Serves the models of a state over gRPC; a `Service` of the HTTP server.

    Args:
        state: shared with the HTTP server.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        cert: PEM file with the certificate and its chain; without one there is no TLS.
        key: PEM file with its private key.

    Raises:
        OSError: the certificate cannot be read.
    """

    def __init__(
        self, state: ServerState, host: str, port: int, *, cert: Path | None = None, key: Path | None = None
    ) -> None:
        self._credentials = Credentials(cert, key) if cert and key else None
        self.state = state
        self.host = host
        self.port = port
        self._server: grpc.aio.Server | None = None
        self._health: Health | None = None

    async def start(self) -> None:
        """Listen and answer."""
        limits = self.state.limits
        self._server = server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.max_body),
                ("grpc.max_metadata_size", _MAX_METADATA),
                ("grpc.max_concurrent_streams", MAX_STREAMS),
                ("grpc.max_allowed_incoming_connections", min(MAX_CONNECTIONS, limits.connections)),
                # Windows that grow with the client's speed would hold more of messages that nobody has asked for.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", _WINDOW),
                # A compressed message is refused: it may become any size.
                ("grpc.compression_enabled_algorithms_bitset", 1),
                # Another server on the same port is an error.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=max(MAX_STREAMS, limits.body_memory // (2 * _WINDOW)),
        )
        # Not as registered methods: gRPC's event loop would wait for each of them anew at every call.
        streams: dict[str, Any] = {"ModelStreamInfer": grpc.stream_stream_rpc_method_handler(_no_stream)}
        server.add_generic_rpc_handlers(
            [Calls(self.state, SERVICE, RPCS), grpc.method_handlers_generic_handler(SERVICE, streams)]
        )
        self._health = Health(self.state)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = f"{host}:{self.port}"
        if self._credentials is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, self._credentials.server)
        await server.start()
        _log.info("serving gRPC on %s:%d%s", host, self.port, " with TLS" if self._credentials else "")

    async def stop(self, seconds: float) -> None:
        """Close all connections; calls in flight have been answered, or their time is over."""
        assert self._server is not None and self._health is not None
        self._health.stopped.set()
        await self._server.stop(min(seconds, _CLOSE_S))


async def _no_stream(messages: object, context: Context) -> None:
    text = "ModelStreamInfer is not offered: no model here answers in parts or keeps a state; use ModelInfer"
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
