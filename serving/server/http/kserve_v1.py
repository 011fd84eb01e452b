"""KServe's protocol version 1, as TensorFlow Serving has it too: models, and `:predict` on instances."""

from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.errors import InputError
from serving.server.answer import Picture
from serving.server.http.health import readiness
from serving.server.http.json_lists import decode, read_list
from serving.server.http.json_pictures import PictureList, check_count, read_picture
from serving.server.http.predict import predict_pictures
from serving.server.http.request import json_response, model_of, receive_body, state_of
from serving.server.inference import MAX_FILES

_Pictures = PictureList | UnsetType


class InstancesRequest(Struct, gc=False):
    """Pictures, as `instances` or as `inputs`."""

    instances: _Pictures = UNSET
    inputs: _Pictures = UNSET


async def models(request: Request) -> Response:
    """List the names of the models."""
    return json_response({"models": state_of(request).models.names})


async def model(request: Request) -> Response:
    """Tell whether a model is ready."""
    state, found = state_of(request), model_of(request)
    return readiness(state.hindered, {"name": found.name})


async def predict(request: Request) -> Response:
    """Answer with the faces of each instance."""
    model = model_of(request)
    async with receive_body(request) as body:
        asked = decode(body, InstancesRequest, "the request")
        given = [one for one in (asked.instances, asked.inputs) if not isinstance(one, UnsetType)]
        if len(given) != 1:
            raise InputError('expected {"instances": [...]}, or {"inputs": [...]}, with pictures')
        values = read_list(given[0], "instances", MAX_FILES)
        check_count(values, "instances")

        def read(max_memory: int | None) -> list[Picture]:
            return [read_picture(value, f"instances[{number}]", max_memory) for number, value in enumerate(values)]

        return await predict_pictures(request, model, read, len(values), "predictions")
