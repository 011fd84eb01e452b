"""The Open Inference Protocol over REST (version 2): inference, with tensors in JSON or as bytes behind it."""

import math
import time
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.card import INPUT_NAME
from serving.runtime.composite_card import CompositeCard
from serving.runtime.errors import InputError
from serving.runtime.predictor import Predictor
from serving.runtime.work import Work
from serving.server import binary_tensors
from serving.server.fair_queue import PRIORITIES
from serving.server.http import json_tensors
from serving.server.http.json_pictures import explain
from serving.server.http.request import compute, model_of, receive_body
from serving.server.inference import RequestedOutput, Tensor, check_request, image_count
from serving.server.inference import infer as run
from serving.server.lanes import DeadlineError

# Axes of a tensor, tensors of a request, and letters of its id.
MAX_AXES = 8
MAX_TENSORS = 64
MAX_ID = 1000

_Axis = Annotated[int, Meta(ge=-(2**31), le=2**31)]
_Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class TensorParameters(Struct, frozen=True, gc=False):
    """What may be said about an input."""

    binary_data_size: _Whole | None = None
    shared_memory_region: str | None = None


class InputTensor(Struct, frozen=True, gc=False):
    """An input: its data is JSON, or bytes behind the JSON."""

    name: str
    shape: Annotated[list[_Axis], Meta(max_length=MAX_AXES)]
    datatype: str
    data: Raw | UnsetType = UNSET
    parameters: TensorParameters = TensorParameters()


class OutputParameters(Struct, frozen=True, gc=False):
    """How an output is wanted."""

    binary_data: bool | None = None
    classification: _Whole = 0
    shared_memory_region: str | None = None


class OutputRequest(Struct, frozen=True, gc=False):
    """An output that is wanted."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(Struct, frozen=True, gc=False):
    """What may be said about a request: its time in microseconds, and its priority, 1 the highest and 0 the default.

    Others are passed over, as the protocol lets clients add their own.
    """

    timeout: _Whole = 0
    priority: Annotated[int, Meta(ge=0, le=PRIORITIES)] = 0
    binary_data_output: bool = False
    sequence_id: int | str = 0


class InferenceRequest(Struct, frozen=True, gc=False):
    """The JSON of a request."""

    inputs: Annotated[list[InputTensor], Meta(max_length=MAX_TENSORS)]
    id: Annotated[str, Meta(max_length=MAX_ID)] | None = None
    outputs: Annotated[list[OutputRequest], Meta(max_length=MAX_TENSORS)] = []
    parameters: RequestParameters = RequestParameters()


_REQUEST = msgspec.json.Decoder(InferenceRequest)


async def infer(request: Request) -> Response:
    """Run a model on its one input, `images`.

    UINT8 of shape (n, height, width, 3) are prepared RGB images. BYTES of shape (n) are image files, in JSON as base64.
    With the header `Inference-Header-Content-Length` tensors are bytes behind the JSON.
    """
    model = model_of(request)
    async with receive_body(request) as body:
        received = time.monotonic()
        header = request.headers.get(binary_tensors.HEADER)
        length = binary_tensors.json_length(header, body)
        rest = memoryview(body)[length:]
        raw = header is not None and length == 0
        asked = _raw_request(model, rest) if raw else _parse(body[:length])
        requested = [RequestedOutput(output.name, output.parameters.classification) for output in asked.outputs]
        check_request(model, [(tensor.name, tensor.datatype, tensor.shape) for tensor in asked.inputs], requested)
        (tensor,) = asked.inputs
        _check_rest(tensor, len(rest))

        def work_on(work: Work) -> list[Tensor]:
            if raw and tensor.datatype == "BYTES":  # one file, without its length
                return run(model, [Tensor(tensor.name, "BYTES", (1,), [bytes(rest)])], requested, work=work)
            return run(model, [_read(tensor, rest, work.max_memory)], requested, work=work)

        def write(outputs: list[Tensor], work: Work) -> Response:
            return _response(model, asked, outputs, work.max_memory)

        rows = image_count(tensor.datatype, tensor.shape)
        wanted = asked.parameters
        deadline = received + wanted.timeout / 1e6 if wanted.timeout else math.inf
        try:
            return await compute(request, work_on, model, rows, write, deadline=deadline, priority=wanted.priority)
        except DeadlineError as error:
            raise DeadlineError(f"no result within parameters.timeout, {wanted.timeout} microseconds") from error


def _parse(text: bytes) -> InferenceRequest:
    try:
        asked = _REQUEST.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"the inference request is not valid: {explain(error)}") from None
    if asked.parameters.sequence_id not in (0, ""):
        raise InputError("parameters.sequence_id: no model here keeps a state between requests; leave it out")
    regions = [one.parameters.shared_memory_region for one in asked.inputs]
    regions += [one.parameters.shared_memory_region for one in asked.outputs]
    if any(region is not None for region in regions):
        raise InputError("shared_memory_region: shared memory is not supported; send and take the data in the body")
    return asked


def _raw_request(model: Predictor, rest: memoryview) -> InferenceRequest:
    """Return what a body without JSON asks for: it is one file for a composite, else pixels (Triton's raw request)."""
    if isinstance(model.card, CompositeCard):
        return InferenceRequest([_bytes_tensor([1], "BYTES", rest)])
    if model.card.stride is not None:
        raise InputError(f"model '{model.name}' takes images of several sizes, so a body needs JSON with their shape")
    size = model.card.input
    images, left = divmod(len(rest), size.height * size.width * 3)
    if left:
        expected = f"whole images of {size.height} x {size.width} x 3 bytes"
        raise InputError(f"{INPUT_NAME}: {len(rest)} bytes are not {expected}; image files go to /predict or have JSON")
    return InferenceRequest([_bytes_tensor([images, size.height, size.width, 3], "UINT8", rest)])


def _bytes_tensor(shape: list[int], datatype: str, data: memoryview) -> InputTensor:
    return InputTensor(INPUT_NAME, shape, datatype, parameters=TensorParameters(len(data)))


def _check_rest(tensor: InputTensor, size: int) -> None:
    """Raise InputError when the bytes behind the JSON are not as many as the input says, or it has data twice."""
    announced = tensor.parameters.binary_data_size
    if size != (announced or 0):
        raise InputError(f"{tensor.name}: binary_data_size is {announced or 0}, but {size} bytes are behind the JSON")
    if announced is not None and not isinstance(tensor.data, UnsetType):
        raise InputError(f"{tensor.name}: has data in JSON and binary_data_size; send one of them")


def _read(tensor: InputTensor, rest: memoryview, max_memory: int | None) -> Tensor:
    name, datatype, shape = tensor.name, tensor.datatype, tensor.shape
    if tensor.parameters.binary_data_size is None:
        data = Raw() if isinstance(tensor.data, UnsetType) else tensor.data
        return json_tensors.read_tensor(name, datatype, shape, data, max_memory)
    return binary_tensors.read_tensor(name, datatype, shape, rest)


def _response(model: Predictor, asked: InferenceRequest, outputs: list[Tensor], max_memory: int | None) -> Response:
    wishes = {output.name: output.parameters.binary_data for output in asked.outputs}
    default = asked.parameters.binary_data_output
    binary = [default if (wish := wishes.get(output.name)) is None else wish for output in outputs]
    json_tensors.check_size([one for one, is_binary in zip(outputs, binary, strict=True) if not is_binary], max_memory)
    parts: list[bytes] = []
    described = []
    for output, is_binary in zip(outputs, binary, strict=True):
        one: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if is_binary:
            parts.append(binary_tensors.bytes_of(output))
            one["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            one["data"] = json_tensors.data_of(output)
        described.append(one)
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if asked.id is not None:
        answer["id"] = asked.id
    text = msgspec.json.encode(answer | {"outputs": described})
    if not parts:
        return Response(text, media_type="application/json")
    headers = {binary_tensors.HEADER: str(len(text))}
    return Response(b"".join([text, *parts]), media_type="application/octet-stream", headers=headers)
