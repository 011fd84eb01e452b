"""The command `python -m serving`: limits, socket, start, end and exit codes."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence

from serving.runtime.execution import Execution, accelerated, set_execution
from serving.runtime.load import load_model
from serving.runtime.machine import resident_memory, usable_cpus, usable_memory
from serving.server.http.server import HttpServer
from serving.server.limits import MIB, Limits
from serving.server.log import set_up_logging
from serving.server.options import Options, parse_options
from serving.server.state import ModelRepository, ServerState

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve models until a stop signal and return the exit code.

    Exit codes: 0 after SIGTERM or SIGINT with all requests answered; 1 when the port cannot be opened; 2 when a
    model cannot be loaded or an option is wrong.
    """
    options = parse_options(arguments)
    set_up_logging()
    try:
        listener = _listen(options.host, options.port)
    except OSError as error:
        print(f"error: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    models = ModelRepository(expected=len(options.model))
    state = ServerState(limits=_limits(options), models=models)
    set_execution(Execution(options.threads, state.limits.lanes, options.execution, options.provider))
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    # A daemon: a stop signal need not wait for a slow download.
    threading.Thread(target=_load, args=(state, options.model, options.name, address), daemon=True).start()
    HttpServer(state).run(sockets=[listener])
    if state.failure:
        print(f"error: {state.failure}", file=sys.stderr)
        return 2
    if state.lanes.busy:
        # Python would wait for the thread, which may decode for a while yet; its request has been answered.
        _log.warning("a lane is still at work; ending without it")
        logging.shutdown()
        os._exit(0)
    return 0


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


def _load(state: ServerState, uris: Sequence[str], name: str | None, address: str) -> None:
    for uri in uris:
        try:
            model = load_model(uri, name=name)
            state.models.add(model)
        except Exception as error:  # whatever it is, the server ends with one line about it
            state.failure = " ".join(str(error).split()) or type(error).__name__
            return
        _log.info("serving %s version %s on %s", model.name, model.version, address)
    limits, memory = state.limits, usable_memory() // MIB
    _log.info(
        "%d lanes with %d MiB each for a picture, of %d MiB in all; %d requests may wait, %d connections be open",
        limits.lanes,
        limits.decode_memory // MIB,
        memory,
        limits.max_waiting,
        limits.connections,
    )
    if (used := resident_memory() // MIB) > memory // 2:
        _log.warning("the models take %d of %d MiB; more than half of it leaves too little for pictures", used, memory)
