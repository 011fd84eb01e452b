"""How this process runs graphs: threads, lanes and the execution provider; and how a graph is opened so."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import onnxruntime

from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus

Mode = Literal["auto", "lanes", "batch"]
Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]

NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Provider -> onnxruntime's name of it."""

# `auto` takes the first one that loads the model. TensorRT compiles every model for minutes, and OpenVINO took more CPU
# time than onnxruntime's own kernels (ResNet-18 19.5 ms for 17.3, a light network 0.66 for 0.36): who wants them asks.
_AUTO: tuple[Provider, ...] = ("cuda", "cpu")

# TF32 and half precision would move the answers away from those that were evaluated. cuDNN's exhaustive search for
# the quickest algorithm would begin anew with every size of a batch.
_OPTIONS: dict[Provider, dict[str, str]] = {
    "cuda": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    "openvino": {"device_type": "CPU", "precision": "ACCURACY"},
}

_EXTERNAL_DATA = "External data path"
_ZIP = b"PK\x03\x04"

# The smallest ONNX file: y = Identity(x), float32 of shape (1).
_IDENTITY = (
    b'\x08\n\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01g'
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x12"
)

_log = logging.getLogger(__name__)


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Execution:
    """How graphs are run.

    Attributes:
        threads: CPU threads of one call; 0 for as many as this process may use.
        lanes: calls at the same time. With several, what suits them is measured when a model is loaded.
        mode: each call by itself (`lanes`), those that come together joined (`batch`), or what was quicker (`auto`).
        provider: what computes; `auto` for the best one that is installed and loads the model.
        busy: tells whether requests are computed at this moment, beside which nothing can be measured.
    """

    threads: int = 0
    lanes: int = 1
    mode: Mode = "auto"
    provider: Provider = "cpu"
    busy: Callable[[], bool] = _never


_execution = Execution()


def set_execution(execution: Execution) -> None:
    """Set how models run that this process opens from now on, unless their number of threads is given."""
    global _execution
    _execution = execution


def execution_of(threads: int | None) -> Execution:
    """Return how to run a graph with so many threads, by default as `set_execution` said."""
    return _execution if threads is None else Execution(threads=threads)


def installed() -> list[Provider]:
    """Return the providers that `auto` tries, the best first."""
    available = onnxruntime.get_available_providers()
    return [provider for provider in _AUTO if NAMES[provider] in available]


def accelerated(provider: Provider) -> bool:
    """Tell whether a device other than the CPU computes, which gains from batches."""
    device = "cuda" if provider == "auto" else provider
    return device in ("cuda", "tensorrt") and _works(device)


@cache
def _works(provider: Provider) -> bool:
    """Tell whether a provider runs graphs here: onnxruntime lists those it was built with, also without a device."""
    if NAMES[provider] not in onnxruntime.get_available_providers():
        return False
    try:
        return bool(_open(_IDENTITY, provider, 1).get_providers()[0] == NAMES[provider])
    except Exception:  # onnxruntime's types, see `open_graph`, which says why when a model is loaded
        return False


def open_graph(
    content: bytes, provider: Provider, threads: int, source: str
) -> tuple[onnxruntime.InferenceSession, Provider]:
    """Load an ONNX file; returns the session and the provider that runs it.

    A provider that is missing, or that does not load the model, is replaced by the next one of `auto`, with a warning.

    Raises:
        InputError: the file is not ONNX, or has weights outside.
    """
    wanted: list[Provider] = installed() if provider == "auto" else [provider]
    if "cpu" not in wanted:
        wanted.append("cpu")
    reason: object = ""
    for one in wanted:
        if NAMES[one] not in onnxruntime.get_available_providers():
            reason = f"this onnxruntime has {', '.join(onnxruntime.get_available_providers())}"
        else:
            try:
                session = _open(content, one, threads)
                # onnxruntime falls back by itself when a library of the provider is missing.
                if session.get_providers()[0] == NAMES[one]:
                    return session, one
                reason = "its libraries cannot be loaded"
            except Exception as error:  # onnxruntime has a dozen unrelated types, all of them about this file
                if one == "cpu" or _EXTERNAL_DATA in str(error):
                    raise _unusable(error, content, source) from error
                reason = error
        _log.warning("%s: the execution provider %s cannot be used: %s", source, one, reason)
    raise InputError(f"{source}: this onnxruntime has no execution provider for it: {reason}")


def _open(content: bytes, provider: Provider, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads sleep: spinning gains nothing measurable and takes the CPU from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in other files would come from the working directory, and no digest covers them; this folder has none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    providers: list[object] = [(NAMES[provider], _OPTIONS.get(provider, {}))]
    if provider == "tensorrt":
        providers.append((NAMES["cuda"], _OPTIONS["cuda"]))
    if provider != "cpu":
        providers.append(NAMES["cpu"])
    session = onnxruntime.InferenceSession(content, options, providers=providers)
    # It keeps the whole file, so that other providers could be set later: 45 MB of ResNet-18 that nothing reads.
    session._model_bytes = b""
    return session


def _unusable(error: Exception, content: bytes, source: str) -> InputError:
    if _EXTERNAL_DATA in str(error):
        return InputError(f"{source}: its weights are in another file; export it with all weights inside the model")
    if content.startswith(_ZIP):
        return InputError(
            f"{source}: a checkpoint of torch (.pt), or another ZIP archive, and what is served is a model.onnx: name "
            "the one that the training exported, or export it with the step export-onnx, for one of ultralytics "
            "export-yolo"
        )
    return InputError(f"{source}: not an ONNX model that onnxruntime can load: {error}")
