"""The Open Inference Protocol over REST (version 2): metadata and inference."""

import base64
import binascii
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.runtime.card import INPUT_NAME
from serving.runtime.errors import ImageError, InputError
from serving.runtime.face_json import rounded
from serving.runtime.predictor import Predictor
from serving.runtime.work import Work
from serving.server.http.request import compute, model_of, receive_body, state_of
from serving.server.inference import RequestedOutput, Tensor, check_request, describe
from serving.server.inference import infer as run

# Axes of a tensor, images of one request, and letters of its id.
MAX_AXES = 8
_MAX_ID = 1000
# Bytes of memory per byte of JSON that numbers are read from: copies of the text, and a list of 8 bytes a number.
_MEMORY_PER_BYTE = 8
# Bytes of memory per number of an answer: two lists of Python's numbers, and its text.
_MEMORY_PER_NUMBER = 64

_Axis = Annotated[int, Meta(ge=-(2**31), le=2**31)]


class _Parameters(Struct, gc=False):
    binary_data_size: Raw = Raw()


class _Tensor(Struct, gc=False):
    name: str
    shape: Annotated[list[_Axis], Meta(max_length=MAX_AXES)]
    datatype: str
    data: Raw = Raw()
    parameters: _Parameters | None = None


class _Output(Struct, gc=False):
    name: str


class _InferRequest(Struct, gc=False):
    inputs: Annotated[list[_Tensor], Meta(max_length=64)]
    id: Annotated[str, Meta(max_length=_MAX_ID)] | None = None
    outputs: list[_Output] = []


_REQUEST = msgspec.json.Decoder(_InferRequest)


async def metadata(request: Request) -> Response:
    """Describe a model's tensors and list its versions."""
    model = model_of(request)
    return JSONResponse(describe(model, state_of(request).models.versions(model.name)))


async def infer(request: Request) -> Response:
    """Run the model on one input tensor `images`.

    Datatype UINT8 has shape (n, height, width, 3): prepared RGB images, flat or nested. Datatype BYTES has shape (n):
    image files in base64 (standard or URL-safe, with or without padding, line breaks or a `data:` prefix), which are
    decoded and resized whole. `outputs` selects outputs; all by default.
    """
    model = model_of(request)
    if "inference-header-content-length" in request.headers:
        raise InputError(_NO_BINARY)
    async with receive_body(request) as body:
        return await compute(request, lambda work: _infer(work, model, body), model)


_NO_BINARY = (
    "the binary tensor data extension is not supported; send the tensor's data as JSON: in tritonclient "
    "set_data_from_numpy(..., binary_data=False) and InferRequestedOutput(..., binary_data=False)"
)


def _infer(work: Work, model: Predictor, body: bytes) -> dict[str, Any]:
    try:
        request = _REQUEST.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"the inference request is not valid: {_explain(error)}") from None
    requested = [RequestedOutput(output.name) for output in request.outputs]
    check_request(model, [(tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs], requested)
    outputs = run(model, [_tensor(tensor, work.max_memory) for tensor in request.inputs], requested, work=work)
    numbers = sum(math.prod(output.shape) for output in outputs)
    if work.max_memory is not None and numbers * _MEMORY_PER_NUMBER > work.max_memory:
        most = work.max_memory // _MEMORY_PER_NUMBER
        raise InputError(f"{numbers} numbers are too many for one answer; at most {most}; send fewer images at once")
    response: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        response["id"] = request.id
    response["outputs"] = [
        {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
            "data": rounded(output.data.ravel().tolist())
            if isinstance(output.data, np.ndarray)
            else [element.decode() for element in output.data],
        }
        for output in outputs
    ]
    return response


def _tensor(tensor: _Tensor, max_memory: int | None) -> Tensor:
    if tensor.parameters and tensor.parameters.binary_data_size:
        raise InputError(_NO_BINARY)
    data: NDArray[np.uint8] | list[bytes]
    if tensor.datatype == "BYTES":
        data = [_decode(text, number) for number, text in enumerate(_texts(tensor))]
    else:
        data = _numbers(tensor, max_memory)
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)


def _numbers(tensor: _Tensor, max_memory: int | None) -> NDArray[np.uint8]:
    """Return the numbers of a UINT8 tensor in its shape; what the text can hold is checked before a list is made.

    Raises:
        InputError: they are no such numbers, do not fill the shape, or would take more than `max_memory` bytes.
    """
    text, shape = bytes(tensor.data), tensor.shape
    if max_memory is not None and len(text) * _MEMORY_PER_BYTE > max_memory:
        most = max_memory // _MEMORY_PER_BYTE
        raise InputError(f"{tensor.name}: {len(text)} bytes of numbers are too many; at most {most}; send image files")
    # The text is JSON, so that white space says nothing, and brackets and commas are the structure.
    structure = text.translate(None, b"0123456789" + _BLANKS)
    expected = f"{tensor.name}: UINT8 data must be whole numbers from 0 to 255"
    if structure.strip(b"[],"):
        raise InputError(expected)
    elements = math.prod(shape)
    # Every element but the last has a comma.
    fills = 0 <= elements <= len(text) and structure in (_structure([elements]), _structure(shape))
    if not fills:
        raise InputError(f"{tensor.name}: the data, {len(text)} bytes of JSON, does not fill {shape}")
    try:
        values = _UINT8_LIST.decode(b"[" + text.translate(None, b"[]") + b"]")
    except msgspec.DecodeError as error:
        raise InputError(f"{expected}: {error}") from None
    return np.frombuffer(bytes(values), np.uint8).reshape(shape)


_BLANKS = b" \t\r\n"
_UINT8_LIST = msgspec.json.Decoder(list[Annotated[int, Meta(ge=0, le=255)]])


def _structure(shape: Sequence[int]) -> bytes:
    """Return the brackets and commas of nested JSON lists of a shape, the last axis numbers."""
    text = b""
    for length in reversed(shape):
        text = b"[" + ((text + b",") * length)[:-1] + b"]"
    return text


def _texts(tensor: _Tensor) -> list[str]:
    """Return the strings of a BYTES tensor, flat or nested; InputError when they are none or do not fill the shape."""
    kind: Any = list[str]
    if bytes(tensor.data).translate(None, _BLANKS).startswith(b"[["):
        for _ in tensor.shape[1:]:
            kind = list[kind]
    try:
        data: list[Any] = msgspec.json.decode(tensor.data, type=kind)
    except msgspec.DecodeError as error:
        raise InputError(f"{tensor.name}: BYTES data must be base64 strings: {error}") from None
    lengths = [len(data)]
    while data and isinstance(data[0], list):
        if len({len(row) for row in data}) > 1:
            raise InputError(f"{tensor.name}: the rows of the nested data differ in length")
        lengths.append(len(data[0]))
        data = [element for row in data for element in row]
    if lengths not in ([math.prod(tensor.shape)], tensor.shape):
        raise InputError(f"{tensor.name}: the data has shape {lengths}, which does not fill {tensor.shape}")
    return data


# URL-safe letters to the standard ones; white space is dropped.
_LETTERS = str.maketrans({"-": "+", "_": "/"} | dict.fromkeys(" \t\r\n"))


def _decode(text: str, number: int) -> bytes:
    if text[:5].lower() == "data:":
        prefix, _, text = text.partition(",")
        if not prefix.lower().endswith(";base64"):
            raise ImageError("not_an_image", f"{INPUT_NAME}[{number}]: only data: URLs with ;base64 are read")
    text = text.translate(_LETTERS).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise ImageError("not_an_image", f"{INPUT_NAME}[{number}]: BYTES data must be base64 strings") from None


def _explain(error: Exception) -> str:
    """Return msgspec's message with the path of a value as `inputs.0.shape`."""
    text = re.sub(r"\[(\d+)\]", r".\1", str(error))
    return re.sub(r"(.*) - at `\$\.?(.*)`", lambda match: f"{match[2] or 'body'}: {match[1]}", text)
