"""The options of `python -m serving`, from the command line and the environment."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from serving.runtime.execution import Mode, Provider


@dataclass(frozen=True, slots=True)
class Options:
    """What a server is told; the texts are in `_parser`."""

    model: tuple[str, ...]
    name: str | None
    host: str
    port: int
    max_body_mib: int
    max_waiting: int
    timeout_s: int
    lanes: int
    threads: int
    execution: Mode
    provider: Provider


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the options; a wrong one ends the program with exit code 2 and a message."""
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    models = values.pop("model") or os.environ.get("FACET_MODEL_URI", "").splitlines()
    options = Options(model=tuple(filter(None, models)), **values)
    if not options.model:
        parser.error("no model: give --model or set FACET_MODEL_URI")
    if options.name and len(options.model) > 1:
        parser.error("--name goes with a single model")
    return options


def _parser() -> argparse.ArgumentParser:
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
    parser.add_argument(
        "--max-waiting", type=_positive, default=256, help="images of each model that may wait; more are refused"
    )
    parser.add_argument("--timeout-s", type=_positive, default=30, help="seconds for a request and its answer")
    parser.add_argument(
        "--lanes", type=_positive, default=0, help="requests computed at the same time; by default cores"
    )
    parser.add_argument("--threads", type=_positive, default=0, help="CPU threads of one call; by default cores")
    parser.add_argument(
        "--execution",
        choices=get_args(Mode),
        default="auto",
        help="each call by itself (lanes) or those that come together joined (batch); by default what is quicker",
    )
    parser.add_argument(
        "--provider",
        choices=get_args(Provider),
        default=environment.get("FACET_PROVIDER", "auto"),
        help="what computes; by default the best that onnxruntime has and that loads the model (FACET_PROVIDER)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; expected 0 to 65535 (0 takes a free one)")
    return int(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)
