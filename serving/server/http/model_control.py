"""Triton's repository extension: which models there are, and loading and unloading them."""

from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.errors import InputError
from serving.server.http.json_pictures import decode_request
from serving.server.http.request import json_response, receive_body, state_of
from serving.server.repository.status import ModelStatus


class IndexRequest(Struct, gc=False):
    """Which models to list: with `ready` only those that answer."""

    ready: bool = False


class ControlRequest(Struct, gc=False):
    """How to load or unload; nothing can be chosen but `unload_dependents`, which changes nothing here."""

    parameters: dict[str, Raw] = {}


async def index(request: Request) -> Response:
    """List the versions of all models and their states."""
    async with receive_body(request) as body:
        asked = decode_request(body or b"{}", IndexRequest, state_of(request).limits.decode_memory)
    statuses = state_of(request).models.index()
    return json_response([_described(one) for one in statuses if one.state == "READY" or not asked.ready])


async def load(request: Request) -> Response:
    """Load a model from its source, or load it again; returns when it answers."""
    await _check(request, set())
    await state_of(request).models.load(request.path_params["model"])
    return json_response({})


async def unload(request: Request) -> Response:
    """Unload all versions of a model."""
    await _check(request, {"unload_dependents"})
    await state_of(request).models.unload(request.path_params["model"])
    return json_response({})


async def _check(request: Request, known: set[str]) -> None:
    async with receive_body(request) as body:
        parameters = decode_request(body or b"{}", ControlRequest, state_of(request).limits.decode_memory).parameters
    if unknown := parameters.keys() - known:
        raise InputError(
            f"parameters.{min(unknown)[:80]}: models are loaded from the sources that the server was started with, "
            "as they are there; leave it out"
        )


def _described(status: ModelStatus) -> dict[str, str]:
    return {"name": status.name, "version": status.version, "state": status.state, "reason": status.reason}
