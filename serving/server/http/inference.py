"""The Open Inference Protocol over REST (version 2): metadata and inference."""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.runtime.card import INPUT_NAME
from serving.runtime.errors import ImageError, InputError
from serving.runtime.predictor import Predictor
from serving.runtime.session import Outputs
from serving.runtime.validation import explain
from serving.server.answer import rounded
from serving.server.http.request import MAX_FILES, model_of, read_body, state_of


class _Tensor(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Output(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str


class _InferRequest(BaseModel):
    model_config = ConfigDict(strict=True)
    id: str | None = None
    inputs: list[_Tensor]
    outputs: list[_Output] = []


async def metadata(request: Request) -> Response:
    """Describe a model's tensors and list its versions; each output of a classifier also lists its columns' labels."""
    model = model_of(request)
    card, size = model.card, model.card.input
    labels = {head.name: {"labels": head.labels} for head in card.heads} if card.task == "classification" else {}
    return JSONResponse(
        {
            "name": model.name,
            "versions": state_of(request).models.versions(model.name),
            "platform": "onnx_onnxv1",
            "inputs": [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, size.height, size.width, 3]}],
            "outputs": [
                {"name": name, "datatype": "FP32", "shape": [-1, *(axis or -1 for axis in shape)]}
                | labels.get(name, {})
                for name, shape in card.outputs.items()
            ],
        }
    )


async def infer(request: Request) -> Response:
    """Run the model on one input tensor `images`.

    Datatype UINT8 has shape (n, height, width, 3): prepared RGB images, flat or nested. Datatype BYTES has shape (n):
    image files in base64, which are decoded and resized whole. `outputs` selects outputs; all by default.
    """
    model = model_of(request)
    body = await read_body(request)
    return JSONResponse(await state_of(request).compute(_infer, model, body))


def _infer(model: Predictor, body: bytes) -> dict[str, Any]:
    try:
        request = _InferRequest.model_validate_json(body)
    except ValidationError as error:
        raise InputError(f"the inference request is not valid: {explain(error)}") from None
    names = [output.name for output in request.outputs] or list(model.card.outputs)
    for name in names:
        if name not in model.card.outputs:
            raise InputError(f"outputs: the model has no output '{name}'; it has {', '.join(model.card.outputs)}")
    if [tensor.name for tensor in request.inputs] != [INPUT_NAME]:
        raise InputError(f"inputs: expected exactly one tensor named '{INPUT_NAME}'")
    outputs = _run(model, request.inputs[0])
    response: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        response["id"] = request.id
    response["outputs"] = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": list(outputs[name].shape),
            "data": rounded(outputs[name].ravel().tolist()),
        }
        for name in names
    ]
    return response


def _run(model: Predictor, tensor: _Tensor) -> Outputs:
    values = _flat(tensor)
    size = model.card.input
    if tensor.datatype == "UINT8":
        if tensor.shape[1:] != [size.height, size.width, 3]:
            raise InputError(f"{INPUT_NAME}: expected shape [n, {size.height}, {size.width}, 3], got {tensor.shape}")
        try:
            pixels = np.frombuffer(bytes(values), np.uint8)
        except (TypeError, ValueError):
            raise InputError(f"{INPUT_NAME}: UINT8 data must be whole numbers from 0 to 255") from None
        return model.infer(pixels.reshape(tensor.shape))
    if tensor.datatype == "BYTES":
        if len(values) > MAX_FILES:
            raise InputError(f"{INPUT_NAME}: {len(values)} files are too many for one request; at most {MAX_FILES}")
        return model.infer([_decode(value, number) for number, value in enumerate(values)])
    raise InputError(f"{INPUT_NAME}: datatype '{tensor.datatype[:20]}' is not supported; expected UINT8 or BYTES")


def _flat(tensor: _Tensor) -> Sequence[Any]:
    """Return a tensor's elements in row-major order; InputError when they do not fill its shape."""
    data, nesting = tensor.data, [len(tensor.data)]
    while data and isinstance(data[0], list):
        lengths = {len(row) if isinstance(row, list) else -1 for row in data}
        if len(lengths) > 1:
            raise InputError(f"{tensor.name}: the rows of the nested data differ in length")
        nesting.append(lengths.pop())
        data = [element for row in data for element in row]
    fills = min(tensor.shape, default=0) >= 0 and len(data) == math.prod(tensor.shape)
    if not fills or (len(nesting) > 1 and nesting != tensor.shape):
        raise InputError(f"{tensor.name}: the data has shape {nesting[:8]}, which does not fill {tensor.shape[:8]}")
    return data


def _decode(value: object, number: int) -> bytes:
    try:
        return base64.b64decode(value, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError, binascii.Error):
        raise ImageError("not_an_image", f"{INPUT_NAME}[{number}]: BYTES data must be base64 strings") from None
