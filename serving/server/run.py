"""The command `python -m serving`: options, socket, signals and exit codes."""

import argparse
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

import uvicorn

from serving.runtime.load import load_model
from serving.server.http.app import create_app
from serving.server.state import ModelRepository, ServerState

# After a stop signal: how long requests in flight may take, and then how long their connections may stay open.
DRAIN_S = 20.0
CLOSE_S = 5

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve models until a stop signal and return the exit code.

    Exit codes: 0 after SIGTERM or SIGINT with all requests answered; 1 when the port cannot be opened; 2 when a
    model cannot be loaded or an option is wrong.
    """
    options = _parse(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("uvicorn", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        listener = _listen(options.host, options.port)
    except OSError as error:
        print(f"error: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    models = ModelRepository(expected=len(options.model))
    state = ServerState(max_body=options.max_body_mib * 2**20, models=models)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    # A daemon: a stop signal need not wait for a slow download.
    threading.Thread(target=_load, args=(state, options.model, options.name, address), daemon=True).start()
    _Server(state).run(sockets=[listener])
    if state.failure:
        print(f"error: {state.failure}", file=sys.stderr)
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve models over HTTP.")
    environment = os.environ
    parser.add_argument(
        "--model",
        action="append",
        help="file, folder, s3://bucket/path, models:/name@alias, models:/name/version or models:/name/latest; "
        "repeatable, the first one is the default (FACET_MODEL_URI, one a line)",
    )
    parser.add_argument("--name", help="name to serve a single model under; its own by default")
    parser.add_argument("--host", default=environment.get("FACET_HOST", "127.0.0.1"), help="(FACET_HOST)")
    parser.add_argument("--port", type=_port, default=environment.get("FACET_PORT", "8080"), help="(FACET_PORT)")
    parser.add_argument("--max-body-mib", type=_positive, default=16, help="largest request body in MiB")
    options = parser.parse_args(arguments)
    options.model = list(filter(None, options.model or environment.get("FACET_MODEL_URI", "").splitlines()))
    if not options.model:
        parser.error("no model: give --model or set FACET_MODEL_URI")
    if options.name and len(options.model) > 1:
        parser.error("--name goes with a single model")
    return options


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; expected 0 to 65535 (0 takes a free one)")
    return int(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def _load(state: ServerState, uris: list[str], name: str | None, address: str) -> None:
    for uri in uris:
        try:
            model = load_model(uri, name=name)
            state.models.add(model)
        except Exception as error:  # whatever it is, the server ends with one line about it
            state.failure = " ".join(str(error).split()) or type(error).__name__
            return
        _log.info("serving %s version %s on %s", model.name, model.version, address)


class _Server(uvicorn.Server):
    """uvicorn that answers what is in flight after a stop signal, and that stops when a model cannot be loaded."""

    def __init__(self, state: ServerState) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(state),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=CLOSE_S,
            )
        )
        self.state = state
        self.deadline = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to drain; a second signal stops at once."""
        if self.state.draining:
            self.should_exit = self.force_exit = True
        else:
            self.deadline = time.monotonic() + DRAIN_S
            self.state.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn, ten times a second, whether to stop."""
        drained = self.state.draining and (not self.server_state.tasks or time.monotonic() > self.deadline)
        self.should_exit |= drained or bool(self.state.failure)
        return await super().on_tick(counter)
