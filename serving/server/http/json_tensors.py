"""Tensors of the Open Inference Protocol whose data is JSON."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw

from serving.runtime.errors import InputError
from serving.runtime.face_json import rounded
from serving.server.http.base64_image import decode_base64
from serving.server.http.json_numbers import BLANKS, read_numbers
from serving.server.inference import Tensor

# Bytes of memory per number of an answer: two lists of Python's numbers, and its text.
_MEMORY_PER_NUMBER = 64


def read_tensor(name: str, datatype: str, shape: Sequence[int], data: Raw, max_memory: int | None) -> Tensor:
    """Read a tensor of BYTES, base64 strings, or of UINT8, from flat or nested lists.

    Raises:
        ImageError: a text is not base64.
        InputError: the data is something else, does not fill the shape, or would take more than `max_memory` bytes.
    """
    if datatype != "BYTES":
        return Tensor(name, datatype, tuple(shape), read_numbers(bytes(data), shape, name, max_memory))
    texts = _texts(name, shape, data)
    files = [decode_base64(text, f"{name}[{number}]") for number, text in enumerate(texts)]
    return Tensor(name, datatype, tuple(shape), files)


def data_of(tensor: Tensor) -> list[Any]:
    """Return the elements of a tensor for JSON, flat; BYTES as text."""
    if isinstance(tensor.data, np.ndarray):
        return rounded(tensor.data.ravel().tolist())
    return [element.decode() for element in tensor.data]


def check_size(tensors: Sequence[Tensor], max_memory: int | None) -> None:
    """Raise InputError when tensors have more numbers than can be written as JSON in so many bytes of memory."""
    numbers = sum(math.prod(tensor.shape) for tensor in tensors)
    if max_memory is not None and numbers * _MEMORY_PER_NUMBER > max_memory:
        most = max_memory // _MEMORY_PER_NUMBER
        raise InputError(
            f"{numbers} numbers are too many for one answer; at most {most}; "
            "send fewer images at once, or ask for binary data"
        )


def _texts(name: str, shape: Sequence[int], raw: Raw) -> list[str]:
    """Return the strings of a BYTES tensor, flat or nested; InputError when they are none or do not fill the shape."""
    kind: Any = list[str]
    if bytes(raw).translate(None, BLANKS).startswith(b"[["):
        for _ in shape[1:]:
            kind = list[kind]
    try:
        data: list[Any] = msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise InputError(f"{name}: BYTES data must be base64 strings: {error}") from None
    lengths = [len(data)]
    while data and isinstance(data[0], list):
        if len({len(row) for row in data}) > 1:
            raise InputError(f"{name}: the rows of the nested data differ in length")
        lengths.append(len(data[0]))
        data = [element for row in data for element in row]
    if lengths not in ([math.prod(shape)], list(shape)):
        raise InputError(f"{name}: the data has shape {lengths}, which does not fill {list(shape)}")
    return data
