"""The OpenAPI document, made of the table of routes and the types of requests and answers."""

import re
from typing import Any

import msgspec

from serving.server.about import server_version
from serving.server.http.json_pictures import PICTURE_SCHEMA
from serving.server.http.routes import ENDPOINTS, JSON, Endpoint
from serving.server.http.schemas import INPUT_SCHEMAS, Error

_REF = "#/components/schemas/{name}"
_REASONS = {
    400: "The request is wrong; `error` says what.",
    403: "The key may not do this.",
    404: "There is no such model or version.",
    408: "The request did not arrive whole in time.",
    413: "The body or a picture is too large.",
    415: "The body is compressed.",
    503: "Not ready or busy; Retry-After says when to try again.",
    504: "There is no answer in time.",
}
_QUERY = {
    "model": ({"type": "string"}, "name of a model; the default one without it"),
    "version": ({"type": "string"}, "version of the model; its default one without it"),
    "box": (
        {"type": "array", "items": {"type": "string", "pattern": "^[^,]+,[^,]+,[^,]+,[^,]+$"}, "maxItems": 64},
        "x,y,width,height of a face in upright pixels; may be repeated",
    ),
}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the server."""
    types = [one for endpoint in ENDPOINTS for one in _types(endpoint) if not isinstance(one, dict)]
    unique = {repr(one): one for one in [*types, Error]}
    schemas, components = msgspec.json.schema_components(list(unique.values()), ref_template=_REF)
    named = dict(zip(unique, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        for method in endpoint.methods:
            paths.setdefault(endpoint.path, {})[method.lower()] = _operation(endpoint, method, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Facet",
            "version": server_version(),
            "description": "Faces in photos. Every error is a JSON object with one text, `error`.",
        },
        "security": [{}, {"bearer": []}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(({"Picture": PICTURE_SCHEMA} | INPUT_SCHEMAS | components).items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _types(endpoint: Endpoint) -> list[Any]:
    values = [*endpoint.answers.values(), *(endpoint.body or {}).values()]
    return [one for value in values for one in (value if isinstance(value, tuple) else (value,))]


def _operation(endpoint: Endpoint, method: str, named: dict[str, Any]) -> dict[str, Any]:
    summary, _, more = (endpoint.handler.__doc__ or "").strip().partition("\n\n")
    description = re.sub(r"\n *", "\n", more).replace("\n\n", "\r").replace("\n", " ").replace("\r", "\n\n").strip()
    answer = {"content": _content(endpoint.answers, named)}
    responses: dict[str, Any] = {"200": {"description": "The answer."} | answer}
    for status in endpoint.statuses:
        responses[str(status)] = {"description": _REASONS[status]} | answer
    failure = {"content": _content({JSON: Error}, named)}
    responses |= {str(status): {"description": _REASONS[status]} | failure for status in endpoint.errors}
    responses["default"] = {"description": "Another error."} | failure
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{endpoint.path}").strip("_"),
        "tags": [endpoint.tag],
        "summary": " ".join(summary.split()),
        "parameters": [*_path_parameters(endpoint), *map(_query, endpoint.query), *map(_header, endpoint.headers)],
        "responses": responses,
    }
    if description:
        operation["description"] = description
    if endpoint.body:
        operation["requestBody"] = {"required": endpoint.needs_body, "content": _content(endpoint.body, named)}
    return operation


def _content(media: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": _schema(one, named)} for kind, one in media.items()}


def _schema(kind: Any, named: dict[str, Any]) -> Any:
    if isinstance(kind, tuple):
        return {"anyOf": [named[repr(one)] for one in kind]}
    return kind if isinstance(kind, dict) else named[repr(kind)]


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", endpoint.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query(name: str) -> dict[str, Any]:
    schema, description = _QUERY[name]
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str) -> dict[str, Any]:
    description = "bytes of JSON before the tensors' bytes; 0 for a body without JSON"
    return {"name": name, "in": "header", "description": description, "schema": {"type": "integer", "minimum": 0}}
