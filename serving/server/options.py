"""The options of `python -m serving`, from the command line and the environment."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from serving.runtime.execution import Mode, Provider


@dataclass(frozen=True, slots=True)
class Options:
    """What a server is told; the texts are in `_parser`."""

    model: tuple[str, ...]
    repository: tuple[str, ...]
    model_dir: str | None
    name: str | None
    poll_s: float
    host: str
    port: int
    grpc_port: int | None
    max_body_mib: int
    max_waiting: int
    timeout_s: int
    drain_s: float
    log_format: str
    api_keys: Path | None
    allow_anonymous: bool
    cors_origin: tuple[str, ...]
    tls_cert: Path | None
    tls_key: Path | None
    sample_to: str | None
    sample_share: float
    lanes: int
    threads: int
    execution: Mode
    provider: Provider


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the options; a wrong one ends the program with exit code 2 and a message."""
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    models = values.pop("model") or os.environ.get("FACET_MODEL_URI", "").splitlines()
    repositories = values.pop("repository") or os.environ.get("FACET_REPOSITORY", "").splitlines()
    folder = values.pop("model_dir")
    if not models and not repositories:
        folder = folder or os.environ.get("FACET_MODEL_DIR")
    options = Options(
        model_dir=folder,
        model=tuple(filter(None, models)),
        repository=tuple(filter(None, repositories)),
        cors_origin=tuple(values.pop("cors_origin") or ()),
        **values,
    )
    if not (options.model or options.repository or options.model_dir):
        parser.error("no model: give --model or --repository, or set FACET_MODEL_URI or FACET_REPOSITORY")
    if options.name and len(options.model) > 1:
        parser.error("--name goes with a single model")
    if options.port and options.port == options.grpc_port:
        parser.error(f"--port and --grpc-port are both {options.port}; HTTP and gRPC need a port each")
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve models over HTTP.")
    environment = os.environ
    parser.add_argument(
        "--model",
        action="append",
        help="file, folder, s3://bucket/path, models:/name@alias, models:/name/version or models:/name (the "
        "highest version); repeatable, the first one is the default (FACET_MODEL_URI, one a line)",
    )
    parser.add_argument(
        "--repository",
        action="append",
        help="folder or s3://bucket/prefix with <model>/<version>/model.onnx; repeatable "
        "(FACET_REPOSITORY, one a line)",
    )
    parser.add_argument(
        "--model-dir",
        "--model_dir",
        help="folder with one model or a repository, such as /mnt/models of KServe (FACET_MODEL_DIR, where no "
        "other model is given)",
    )
    parser.add_argument(
        "--name", "--model-name", "--model_name", help="name to serve a single model under; its own by default"
    )
    parser.add_argument(
        "--poll-s",
        type=_seconds,
        default=environment.get("FACET_POLL_S", "10"),
        help="seconds between two looks for new models and versions; 0 looks once (FACET_POLL_S)",
    )
    parser.add_argument("--host", default=environment.get("FACET_HOST", "127.0.0.1"), help="(FACET_HOST)")
    parser.add_argument(
        "--port", "--http_port", type=_port, default=environment.get("FACET_PORT", "8080"), help="(FACET_PORT)"
    )
    parser.add_argument(
        "--grpc-port",
        "--grpc_port",
        type=_port,
        default=environment.get("FACET_GRPC_PORT") or None,
        help="also serve the Open Inference Protocol over gRPC there; not by default (FACET_GRPC_PORT)",
    )
    parser.add_argument("--max-body-mib", type=_positive, default=16, help="largest request body in MiB")
    parser.add_argument(
        "--max-waiting", type=_positive, default=256, help="images of each model that may wait; more are refused"
    )
    parser.add_argument("--timeout-s", type=_positive, default=30, help="seconds for a request and its answer")
    _add_security(parser)
    parser.add_argument(
        "--drain-s",
        type=_seconds,
        default=environment.get("FACET_DRAIN_S", "0"),
        help="seconds after a stop signal in which new requests are still answered, so that load balancers can see "
        "that the server is not ready (FACET_DRAIN_S)",
    )
    parser.add_argument(
        "--log-format",
        type=_log_format,
        default=environment.get("FACET_LOG_FORMAT") or "text",
        help="text, lines for people, or json, one object a line (FACET_LOG_FORMAT)",
    )
    parser.add_argument(
        "--sample-to",
        default=environment.get("FACET_SAMPLE_TO"),
        help="s3://bucket/prefix or folder that keeps a share of the pictures, as they are sent, with the faces that "
        "were found; without it none is kept (FACET_SAMPLE_TO)",
    )
    parser.add_argument(
        "--sample-share",
        type=_share,
        default=environment.get("FACET_SAMPLE_SHARE", "0.01"),
        help="of the pictures, 0 to 1; 0.01 by default (FACET_SAMPLE_SHARE)",
    )
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


def _add_security(parser: argparse.ArgumentParser) -> None:
    environment = os.environ
    parser.add_argument(
        "--api-keys",
        type=Path,
        default=_path(environment.get("FACET_API_KEYS_FILE")),
        help="file of API keys, `name:sha256` or `name:admin:sha256` a line; read again when it changes "
        "(FACET_API_KEYS_FILE)",
    )
    parser.add_argument(
        "--allow-anonymous",
        action="store_true",
        default=environment.get("FACET_ALLOW_ANONYMOUS", "") == "1",
        help="serve on a public address without API keys (FACET_ALLOW_ANONYMOUS=1)",
    )
    parser.add_argument(
        "--cors-origin",
        type=_origin,
        action="append",
        help="origin whose pages may ask from a browser, such as https://example.com; repeatable, by default none",
    )
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=_path(environment.get("FACET_TLS_CERT_FILE")),
        help="certificate with its chain, PEM; read again when it changes (FACET_TLS_CERT_FILE)",
    )
    parser.add_argument(
        "--tls-key",
        type=Path,
        default=_path(environment.get("FACET_TLS_KEY_FILE")),
        help="private key of the certificate, PEM, without a password (FACET_TLS_KEY_FILE)",
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s*?#@]+", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not an origin; expected scheme and host, as https://example.com")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; expected 0 to 65535 (0 takes a free one)")
    return int(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a format of the log; expected text or json")
    return text


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share; expected a number from 0 to 1")
    return share


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0 to 86400")
    return seconds
