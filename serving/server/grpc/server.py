"""The gRPC server: the Open Inference Protocol, health and reflection, in the event loop of the HTTP server."""

import logging
from typing import Any

import grpc

from serving.server.grpc.calls import Calls, Context
from serving.server.grpc.credentials import Credentials
from serving.server.grpc.health import HEALTH, Health
from serving.server.grpc.reflection import REFLECTION, reflection_rpcs
from serving.server.grpc.rpcs import RPCS, SERVICE
from serving.server.state import ServerState
from serving.server.tls import Certificate

# Open connections, and calls of each that have no answer yet.
MAX_CONNECTIONS = 500
MAX_STREAMS = 100
# Of a connection: until it speaks HTTP/2, without a call, and in all. Clients connect again by themselves.
_HANDSHAKE_S = 10
_IDLE_S = 75
_AGE_S = 600
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
        certificate: without one there is no TLS.
    """

    def __init__(self, state: ServerState, host: str, port: int, certificate: Certificate | None = None) -> None:
        self._credentials = Credentials(certificate) if certificate else None
        self.state = state
        self.host = host
        self.port = port
        self._server: grpc.aio.Server | None = None
        self._health = Health()

    async def start(self) -> None:
        """Listen and answer."""
        limits = self.state.limits
        self._server = server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.max_body),
                ("grpc.max_metadata_size", _MAX_METADATA),
                ("grpc.max_concurrent_streams", MAX_STREAMS),
                ("grpc.max_allowed_incoming_connections", min(MAX_CONNECTIONS, limits.connections)),
                ("grpc.server_handshake_timeout_ms", round(1000 * _HANDSHAKE_S)),
                ("grpc.max_connection_idle_ms", round(1000 * _IDLE_S)),
                ("grpc.max_connection_age_ms", round(1000 * _AGE_S)),
                # After which a connection that is too old is closed: calls that began on it are answered before.
                ("grpc.max_connection_age_grace_ms", round(1000 * (limits.request_s + limits.wait_s))),
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
        services = {SERVICE: RPCS, HEALTH: self._health.rpcs, REFLECTION: reflection_rpcs([SERVICE, HEALTH])}
        server.add_generic_rpc_handlers(
            [Calls(self.state, services), grpc.method_handlers_generic_handler(SERVICE, streams)]
        )
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = f"{host}:{self.port}"
        if self._credentials is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, self._credentials.server)
        await server.start()
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_fault)
        _log.info("serving gRPC on %s:%d%s", host, self.port, " with TLS" if self._credentials else "")

    async def stop(self, seconds: float) -> None:
        """Close all connections; calls in flight have been answered, or their time is over."""
        assert self._server is not None
        self._health.stopped.set()
        await self._server.stop(min(seconds, _CLOSE_S))


def _is_fault(record: logging.LogRecord) -> bool:
    """Tell whether gRPC logs more than that a client had left, or was refused by gRPC, when it was sent its answer."""
    kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


async def _no_stream(messages: object, context: Context) -> None:
    text = "ModelStreamInfer is not offered: no model here answers in parts or keeps a state; use ModelInfer"
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
