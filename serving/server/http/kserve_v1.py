"""KServe's protocol version 1, as TensorFlow Serving has it too: models, and `:predict` on instances."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.errors import InputError
from serving.server.answer import Picture
from serving.server.http.health import readiness
from serving.server.http.json_pictures import PictureValue, check_count, decode_request, read_picture
from serving.server.http.predict import predict_pictures
from serving.server.http.request import json_response, model_of, receive_body, state_of
from serving.server.inference import MAX_FILES

_Pictures = Annotated[list[PictureValue], Meta(max_length=MAX_FILES)] | UnsetType


class InstancesRequest(Struct, gc=False):
    """Pictures, as `instances` or as `inputs`."""

    instances: _Pictures = UNSET
    inputs: _Pictures = UNSET


async def models(request: Request) -> Response:
    """List the names of the models."""
    return json_response({"models": state_of(request).models.names})


async def model(request: Request) -> Response:
    """Tell whether a model is ready."""
    if request.path_params["model"].endswith(":predict"):
        raise HTTPException(405, headers={"Allow": "POST"})
    state, found = state_of(request), model_of(request)
    return readiness(state.hindered, {"name": found.name})


async def predict(request: Request) -> Response:
    """Answer with the faces of each instance."""
    model = model_of(request)
    async with receive_body(request) as body:
        asked = decode_request(body, InstancesRequest, state_of(request).limits.decode_memory)
        given = [one for one in (asked.instances, asked.inputs) if not isinstance(one, UnsetType)]
        if len(given) != 1:
            raise InputError('expected {"instances": [...]}, or {"inputs": [...]}, with pictures')
        (values,) = given
        check_count(values, "instances")

        def read(max_memory: int | None) -> list[Picture]:
            return [read_picture(value, f"instances[{number}]", max_memory) for number, value in enumerate(values)]

        return await predict_pictures(request, model, read, len(values), "predictions")
