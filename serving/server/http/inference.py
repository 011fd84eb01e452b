"""The Open Inference Protocol over REST (version 2): metadata and inference."""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.runtime.card import INPUT_NAME
from serving.runtime.errors import ImageError, InputError
from serving.runtime.predictor import Predictor
from serving.server.http.body import MAX_FILES, read_body
from serving.server.http.predict import rounded
from serving.server.state import compute, named_model


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
    """Describe a model's tensors; each output also lists the labels of its columns."""
    model = named_model(request)
    size = model.card.input
    return JSONResponse(
        {
            "name": model.name,
            "versions": [model.version],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, size.height, size.width, 3]}],
            "outputs": [
                {"name": head.name, "datatype": "FP32", "shape": [-1, len(head.labels)], "labels": head.labels}
                for head in model.card.heads
            ],
        }
    )


async def infer(request: Request) -> Response:
    """Run the model on one input tensor `images`.

    Datatype UINT8 has shape (n, height, width, 3): prepared RGB images, flat or nested. Datatype BYTES has shape (n):
    image files in base64, which are decoded and resized whole. `outputs` chooses heads; all by default.
    """
    model = named_model(request)
    body = await read_body(request)
    return JSONResponse(await compute(request, _infer, model, body))


def _infer(model: Predictor, body: bytes) -> dict[str, Any]:
    try:
        request = _InferRequest.model_validate_json(body)
    except ValidationError as error:
        raise InputError(f"the inference request is not valid: {_explain(error)}") from None
    wanted = [output.name for output in request.outputs] or [head.name for head in model.card.heads]
    for name in wanted:
        if name not in (head.name for head in model.card.heads):
            known = ", ".join(head.name for head in model.card.heads)
            raise InputError(f"outputs: the model has no output '{name}'; it has {known}")
    if [tensor.name for tensor in request.inputs] != [INPUT_NAME]:
        raise InputError(f"inputs: expected exactly one tensor named '{INPUT_NAME}'")
    probabilities = _run(model, request.inputs[0])
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": list(probabilities[name].shape),
            "data": rounded(probabilities[name].ravel().tolist()),
        }
        for name in wanted
    ]
    return answer


def _run(model: Predictor, tensor: _Tensor) -> dict[str, NDArray[np.float32]]:
    values = _flat(tensor)
    size = model.card.input
    if tensor.datatype == "UINT8":
        if tensor.shape[1:] != [size.height, size.width, 3]:
            raise InputError(f"{INPUT_NAME}: expected shape [n, {size.height}, {size.width}, 3], got {tensor.shape}")
        try:
            pixels = np.frombuffer(bytes(values), np.uint8)
        except (TypeError, ValueError):
            raise InputError(f"{INPUT_NAME}: UINT8 data must be whole numbers from 0 to 255") from None
        return model.probabilities(pixels.reshape(tensor.shape))
    if tensor.datatype == "BYTES":
        if len(values) > MAX_FILES:
            raise InputError(f"{INPUT_NAME}: {len(values)} files are too many for one request; at most {MAX_FILES}")
        return model.predict([(_decode(value, number), None) for number, value in enumerate(values)])
    raise InputError(f"{INPUT_NAME}: datatype '{tensor.datatype[:20]}' is not supported; expected UINT8 or BYTES")


def _flat(tensor: _Tensor) -> Sequence[Any]:
    """Give a tensor's elements in row-major order; InputError when they do not fill its shape."""
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


def _explain(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in problems[:3]]
    return "; ".join(line[:200] for line in lines)
