"""Triton's repository extension: which models there are, and loading and unloading them."""

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.errors import InputError
from serving.server.http.json_lists import decode, read_object
from serving.server.http.request import json_response, receive_body, state_of
from serving.server.repository.loaded import ModelStatus

_MAX_PARAMETERS = 64


class IndexRequest(Struct, gc=False):
    """Which models to list: with `ready` only those that answer."""

    ready: bool = False


class ControlRequest(Struct, gc=False):
    """How to load or unload; nothing can be chosen but `unload_dependents`, which changes nothing here."""

    parameters: Annotated[Raw, Meta(extra_json_schema={"type": "object"})] | UnsetType = UNSET


async def index(request: Request) -> Response:
    """List the versions of all models and their states."""
    async with receive_body(request) as body:
        asked = decode(body or b"{}", IndexRequest, "the request")
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
        asked = decode(body or b"{}", ControlRequest, "the request")
        given = b"{}" if isinstance(asked.parameters, UnsetType) else asked.parameters
        parameters = read_object(given, "parameters", _MAX_PARAMETERS)
    if unknown := parameters.keys() - known:
        raise InputError(
            f"parameters.{min(unknown)[:80]}: models are loaded from the sources that the server was started with, "
            "as they are there; leave it out"
        )


def _described(status: ModelStatus) -> dict[str, str]:
    return {"name": status.name, "version": status.version, "state": status.state, "reason": status.reason}
