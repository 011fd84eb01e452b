"""The messages of ModelInfer: bytes to tensors and tensors to bytes, with the memory that they take bounded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar, cast

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from serving.runtime.errors import InputError
from serving.server import binary_tensors
from serving.server.grpc import service_pb2 as pb
from serving.server.inference import RequestedOutput, Tensor

M = TypeVar("M", bound=Message)

# Axes of a tensor.
MAX_AXES = 8
# Bytes of a message without its tensors' contents, and fields of one with them: a field of two bytes can become a
# hundred in memory.
MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 4096
# Bytes of memory per byte of packed numbers: up to 8 as they are read, and as many as an array.
_MEMORY_PER_BYTE = 16

# Numbers of fields.
_INPUTS, _RAW_INPUT_CONTENTS = 5, 7
_CONTENTS, _BYTES_CONTENTS = 5, 8


@dataclass(frozen=True, slots=True)
class InferMessage:
    """A ModelInferRequest whose contents have not been read.

    Attributes:
        head: everything else.
        contents: of each input the `contents`, encoded; empty where there are none.
        raw: the `raw_input_contents`.
        numbers: bytes of `contents` that are no BYTES.
    """

    head: pb.ModelInferRequest
    contents: Sequence[bytes]
    raw: Sequence[memoryview]
    numbers: int

    @property
    def described(self) -> list[tuple[str, str, Sequence[int]]]:
        """The name, the datatype and the shape of each input. Raises InputError for too many axes."""
        described: list[tuple[str, str, Sequence[int]]] = [
            (tensor.name, tensor.datatype, list(tensor.shape)) for tensor in self.head.inputs
        ]
        for name, _, shape in described:
            if len(shape) > MAX_AXES:
                raise InputError(f"{name[:80]}: {len(shape)} axes are too many; at most {MAX_AXES}")
        return described

    @property
    def requested(self) -> list[RequestedOutput]:
        """The outputs that are asked for. Raises InputError for a number of classes that is none."""
        return [
            RequestedOutput(output.name, whole_number(output.parameters, "classification"))
            for output in self.head.outputs
        ]


def read_message(message: bytes) -> InferMessage:
    """Take a ModelInferRequest apart without reading what its tensors hold.

    protobuf's own parser would make objects of everything at once, fifty times the size of a hostile message.

    Raises:
        InputError: it is no such message, or has too many fields.
    """
    view, fields = memoryview(message), _Fields(message)
    head = bytearray()
    contents: list[bytes] = []
    raw: list[memoryview] = []
    for number, start, value, end in fields.read(0, len(message)):
        if number == _RAW_INPUT_CONTENTS:
            raw.append(view[value:end])
        elif number == _INPUTS:
            rest, inner = bytearray(), bytearray()
            for part, part_start, part_value, part_end in fields.read(value, end):
                if part == _CONTENTS:
                    inner += view[part_value:part_end]
                    fields.count_contents(part_value, part_end)
                else:
                    rest += view[part_start:part_end]
            contents.append(bytes(inner))
            head += bytes([_INPUTS << 3 | 2]) + _varint(len(rest)) + rest
        else:
            head += view[start:end]
    if len(head) > MAX_HEAD_BYTES:
        raise InputError(f"names, shapes and parameters take {len(head)} bytes; at most {MAX_HEAD_BYTES}")
    return InferMessage(parse(pb.ModelInferRequest, bytes(head)), contents, raw, fields.numbers)


def read_tensors(message: InferMessage, max_memory: int | None) -> list[Tensor]:
    """Read the contents of the inputs, UINT8 and BYTES, whose names, datatypes and shapes have been checked.

    Raises:
        InputError: the contents do not fill the shapes, are of another datatype, or would take more than `max_memory`.
    """
    inputs = message.head.inputs
    if not message.raw:
        if max_memory is not None and message.numbers * _MEMORY_PER_BYTE > max_memory:
            most = max_memory // _MEMORY_PER_BYTE
            raise InputError(f"{message.numbers} bytes of numbers are too many; at most {most}; use raw_input_contents")
        return [_typed(tensor, data) for tensor, data in zip(inputs, message.contents, strict=True)]
    if len(message.raw) != len(inputs):
        raise InputError(f"raw_input_contents: expected one for each input, {len(inputs)}, got {len(message.raw)}")
    if any(message.contents):
        raise InputError("inputs: contents and raw_input_contents are both set; use one of them")
    return [
        binary_tensors.read_tensor(tensor.name, tensor.datatype, list(tensor.shape), data)
        for tensor, data in zip(inputs, message.raw, strict=True)
    ]


def write_response(model: str, version: str, request: InferMessage, outputs: Sequence[Tensor]) -> bytes:
    """Write a ModelInferResponse, with raw contents if the request had them."""
    response = pb.ModelInferResponse(model_name=model, model_version=version, id=request.head.id)
    for output in outputs:
        written = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if request.raw:
            response.raw_output_contents.append(binary_tensors.bytes_of(output))
        elif isinstance(output.data, np.ndarray):
            written.contents.fp32_contents.extend(cast("NDArray[np.float32]", output.data).ravel())
        else:
            written.contents.bytes_contents.extend(output.data)
    return response.SerializeToString()


def parse(kind: type[M], data: bytes) -> M:
    """Parse a message. Raises InputError when it is none of this kind."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InputError(f"the message is no {kind.DESCRIPTOR.name}: {error}") from None


def whole_number(parameters: Mapping[str, pb.InferParameter], name: str, most: int = 2**64) -> int:
    """Return a parameter that counts something; 0 without it. Raises InputError for anything else, and above `most`."""
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    value = getattr(parameters[name], kind) if kind in ("int64_param", "uint64_param") else -1
    if value < 0:
        raise InputError(f"parameters.{name}: expected a whole number")
    if value > most:
        raise InputError(f"parameters.{name}: expected at most {most}, got {value}")
    return int(value)


class _Fields:
    """The fields of an encoded message, and how many have been read.

    Attributes:
        numbers: bytes of the numbers that `count_contents` has met.
    """

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._left = MAX_FIELDS
        self.numbers = 0

    def read(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield of each field its number, where it starts, where its value starts, and where both end.

        The number is 0 where the value is no text, bytes or message.
        """
        while at < end:
            start = at
            tag, at = self._varint(at, end)
            kind = tag & 7
            value = at
            if kind == 2:
                length, value = self._varint(at, end)
                at = value + length
            elif kind == 0:
                _, at = self._varint(at, end)
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                raise InputError(_BROKEN)
            if at > end:
                raise InputError(_BROKEN)
            self._left -= 1
            if self._left < 0:
                raise InputError(
                    f"the request has more than {MAX_FIELDS} fields; pack numbers or use raw_input_contents"
                )
            yield tag >> 3 if kind == 2 else 0, start, value, at

    def count_contents(self, at: int, end: int) -> None:
        """Count the fields of an InferTensorContents and the bytes of its numbers."""
        for number, start, _, stop in self.read(at, end):
            if number != _BYTES_CONTENTS:
                self.numbers += stop - start

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the number at a place, and where it ends."""
        message, value = self._message, 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise InputError(_BROKEN)


# Bytes of the values of a fixed size.
_FIXED = {1: 8, 5: 4}
_BROKEN = "the message is no ModelInferRequest: it is not valid protobuf, or cut short"


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _typed(tensor: pb.ModelInferRequest.InferInputTensor, encoded: bytes) -> Tensor:
    contents, shape = parse(pb.InferTensorContents, encoded), tuple(tensor.shape)
    expected = "bytes_contents" if tensor.datatype == "BYTES" else "uint_contents"
    other = [field.name for field, _ in contents.ListFields() if field.name != expected]
    if other:
        raise InputError(f"{tensor.name}: {tensor.datatype} data must be in {expected}, not in {', '.join(other)}")
    if tensor.datatype == "BYTES":
        _check_filled(tensor.name, shape, len(contents.bytes_contents), "elements")
        return Tensor(tensor.name, tensor.datatype, shape, list(contents.bytes_contents))
    numbers = np.fromiter(contents.uint_contents, np.uint32, len(contents.uint_contents))
    _check_filled(tensor.name, shape, len(numbers), "numbers")
    if numbers.max(initial=0) > 255:
        raise InputError(f"{tensor.name}: UINT8 data must be whole numbers from 0 to 255, got {numbers.max()}")
    return Tensor(tensor.name, tensor.datatype, shape, numbers.astype(np.uint8).reshape(shape))


def _check_filled(name: str, shape: Sequence[int], count: int, of: str) -> None:
    if min(shape, default=0) < 0 or prod(shape) != count:
        raise InputError(f"{name}: the data, {count} {of}, does not fill {list(shape)}")
