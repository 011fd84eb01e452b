"""Tensors as bytes, in Triton's form: behind the JSON of a request or an answer, and in gRPC's raw contents.

Numbers are little-endian and in row-major order; an element of BYTES is its length in 4 bytes, then its bytes.
"""

import math
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from serving.runtime.errors import InputError
from serving.server.inference import Tensor

HEADER = "Inference-Header-Content-Length"
"""The HTTP header with the number of bytes of the JSON; 0 in a request means that there is none."""

_LENGTH = struct.Struct("<I")


def json_length(header: str | None, body: bytes) -> int:
    """Return how many bytes of a body are JSON; all of them without the header.

    Raises:
        InputError: the header is not a number of bytes of the body.
    """
    if header is None:
        return len(body)
    if not header.isascii() or not header.isdigit() or len(header) > 12 or int(header) > len(body):
        raise InputError(f"{HEADER}: {header[:20]!r} is not a number of bytes of the body, which has {len(body)}")
    return int(header)


def read_tensor(name: str, datatype: str, shape: Sequence[int], data: memoryview) -> Tensor:
    """Read a tensor of BYTES or of UINT8, whose shape has been checked; the numbers stay where they are in memory.

    Raises:
        InputError: the data does not fill the shape.
    """
    elements = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), list(_elements(name, elements, data)))
    if len(data) != elements:
        raise InputError(f"{name}: {len(data)} bytes of data do not fill {list(shape)}, which takes {elements}")
    return Tensor(name, datatype, tuple(shape), np.frombuffer(data, np.uint8).reshape(shape))


def bytes_of(tensor: Tensor) -> bytes:
    """Return the data of a tensor as bytes."""
    if isinstance(tensor.data, np.ndarray):
        return tensor.data.astype(tensor.data.dtype.newbyteorder("<"), copy=False).tobytes()
    return b"".join(_LENGTH.pack(len(element)) + element for element in tensor.data)


def _elements(name: str, count: int, data: memoryview) -> Iterator[bytes]:
    start = 0
    for number in range(count):
        begin = start + _LENGTH.size
        size = _LENGTH.unpack(data[start:begin])[0] if begin <= len(data) else 0
        if begin + size > len(data):
            raise InputError(f"{name}: its bytes end within element {number} of {count}; each has 4 bytes of length")
        start = begin + size
        yield bytes(data[begin:start])
    if start < len(data):
        raise InputError(f"{name}: {len(data) - start} bytes follow its {count} elements")
