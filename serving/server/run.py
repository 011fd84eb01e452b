"""The command `python -m serving`: limits, socket, start, end and exit codes."""

import errno
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence

from serving.runtime.errors import InputError, StorageError
from serving.runtime.execution import Execution, accelerated, set_execution
from serving.runtime.machine import resident_memory, usable_cpus, usable_memory
from serving.server.http.server import HttpServer, Service
from serving.server.keys import Keys
from serving.server.limits import MIB, Limits
from serving.server.log import set_up_logging
from serving.server.options import Options, parse_options
from serving.server.repository.layout import Repository, holds_one_model
from serving.server.repository.models import ModelRepository
from serving.server.repository.source import SingleModel, Source
from serving.server.sampling import Sampling
from serving.server.state import ServerState
from serving.server.tls import Certificate
from serving.server.tracing import make_tracing

# What to do when a port cannot be opened.
_REMEDIES = {
    errno.EADDRINUSE: "choose another {option}, or end what listens there",
    errno.EACCES: "choose a {option} above 1023",
}

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve models until a stop signal and return the exit code.

    Exit codes: 0 after SIGTERM or SIGINT with all requests answered; 1 when the port cannot be opened; 2 when a
    model, the API keys or the certificate cannot be loaded, or an option is wrong.
    """
    options = parse_options(arguments)
    set_up_logging(options.log_format)
    port, protocol, option = options.port, "HTTP", "--port"
    try:
        listener = _listen(options.host, port)
        if options.grpc_port is not None:
            port, protocol, option = options.grpc_port, "gRPC", "--grpc-port"
            _listen(options.host, port).close()  # gRPC itself does not say why it cannot listen
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "--host takes an address of this machine").format(option=option)
        # The text of `create_server` has the address too, and that of a name that nobody knows is not the system's.
        cause = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        print(f"error: cannot listen on {options.host}:{port} for {protocol}: {cause}; {remedy}", file=sys.stderr)
        return 1
    host, port = listener.getsockname()[:2]
    try:
        keys = _keys(options, host)
        tracing = make_tracing()
        certificate = Certificate(options.tls_cert, options.tls_key) if options.tls_cert and options.tls_key else None
        sources = _sources(options)
        sampling = Sampling(options.sample_to, options.sample_share) if options.sample_to else None
    except (InputError, StorageError) as error:
        listener.close()
        print(f"error: {error}", file=sys.stderr)
        return 2
    scheme = "https" if certificate else "http"
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    limits = _limits(options)
    state = ServerState(
        limits=limits,
        models=ModelRepository(
            sources=sources,
            poll_s=options.poll_s,
            served=lambda model: _log.info("serving %s version %s on %s", model.name, model.version, address),
            started=lambda: _say_limits(limits),
        ),
        keys=keys,
        sampling=sampling,
        cors_origins=options.cors_origin,
        drain_s=options.drain_s,
        tracing=tracing,
    )
    how = (options.threads, limits.lanes, options.execution, options.provider)
    set_execution(Execution(*how, busy=lambda: state.lanes.busy))
    HttpServer(state, _services(state, options, host, certificate), certificate=certificate).run(sockets=[listener])
    if state.failure:
        print(f"error: {state.failure}", file=sys.stderr)
        return 2
    if state.lanes.busy:
        _log.warning("a lane is still at work; ending without it")
    return 0


def _keys(options: Options, host: str) -> Keys:
    """Return the keys for a server on this address.

    Raises:
        InputError: they cannot be read, or there are none and the address is public.
    """
    loopback = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    if options.api_keys is None and not loopback and not options.allow_anonymous:
        raise InputError(
            f"{host} can be reached from other machines: give --api-keys (FACET_API_KEYS_FILE), or let anybody predict "
            "with --allow-anonymous (FACET_ALLOW_ANONYMOUS=1)"
        )
    return Keys(options.api_keys, loopback=loopback)


def _services(state: ServerState, options: Options, host: str, certificate: Certificate | None) -> list[Service]:
    services: list[Service] = [state.models]
    services += [service for service in (state.sampling, state.tracing) if service]
    if options.grpc_port is not None:
        # Importing gRPC takes 0.1 s, in which models load already.
        state.models.begin()
        from serving.server.grpc.server import GrpcServer

        services.append(GrpcServer(state, host, options.grpc_port, certificate))
    return services


def _limits(options: Options) -> Limits:
    return Limits.for_machine(
        usable_memory(),
        options.lanes or _lanes(options),
        max_body=options.max_body_mib * MIB,
        max_waiting=options.max_waiting,
        request_s=options.timeout_s,
    )


def _lanes(options: Options) -> int:
    """Return a lane for each core; more where calls are joined, so that some decode while others compute."""
    joined = options.execution == "batch" or (options.execution == "auto" and accelerated(options.provider))
    return max(8, 2 * usable_cpus()) if joined else usable_cpus()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def _sources(options: Options) -> list[Source]:
    """Return where the models come from; InputError or StorageError where an address is wrong."""
    models, repositories = list(options.model), list(options.repository)
    if options.model_dir:
        (models if holds_one_model(options.model_dir) else repositories).append(options.model_dir)
    return [*(SingleModel(uri, options.name) for uri in models), *map(Repository, repositories)]


def _say_limits(limits: Limits) -> None:
    memory = usable_memory() // MIB
    _log.info(
        "%d lanes with %d MiB each for a picture, of %d MiB in all; %d images of each model may wait, "
        "%d connections be open",
        limits.lanes,
        limits.decode_memory // MIB,
        memory,
        limits.max_waiting,
        limits.connections,
    )
    if (used := resident_memory() // MIB) > memory // 2:
        _log.warning("the models take %d of %d MiB; more than half of it leaves too little for pictures", used, memory)
