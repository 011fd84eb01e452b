"""The HTTP application: its routes and its errors."""

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.runtime.errors import InputError
from serving.server.errors import STATUS, headers_of, reason_of, status_of, text_of
from serving.server.http.docs_page import POLICY, page
from serving.server.http.guard import guards
from serving.server.http.openapi import document
from serving.server.http.request import json_response, state_of
from serving.server.http.routes import ENDPOINTS, Endpoint, Handler
from serving.server.http.watch import Watch
from serving.server.state import ServerState
from serving.server.web.routes import routes as door_page


class Application(Starlette):
    """Starlette for which a path with slashes at its end is the one without: a redirect would lose a body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/") or "/"
        await super().__call__(scope, receive, send)


def create_app(state: ServerState) -> Starlette:
    """Make the application that serves `state.models`; every error is `{"error": text}`."""
    described = document()
    as_json, as_page = msgspec.json.encode(described), page(described)

    async def openapi(request: Request) -> Response:
        return Response(as_json, media_type="application/json")

    async def docs(request: Request) -> Response:
        return HTMLResponse(as_page, headers={"Content-Security-Policy": POLICY})

    app = Application(
        routes=[
            *(Route(one.path, _handler(one), methods=one.methods) for one in ENDPOINTS),
            Route("/openapi.json", openapi),
            Route("/docs", docs),
            *door_page(),
        ],
        middleware=[Middleware(Watch), *guards(state)],
        exception_handlers=dict.fromkeys(STATUS, _error) | {HTTPException: _http_error, ClientDisconnect: _client_gone},
    )
    app.router.redirect_slashes = False
    app.state.server = state
    return app


def _handler(endpoint: Endpoint) -> Handler:
    """Return what answers requests to an endpoint. Where it reads query parameters, others are refused.

    A parameter with a wrong letter would be passed over, and the answer be that of another question.
    """
    if not endpoint.query:
        return endpoint.handler

    async def answer(request: Request) -> Response:
        for name in request.query_params:
            if name not in endpoint.query:
                known = ", ".join(endpoint.query)
                raise InputError(f"the query parameter '{name[:80]}' is unknown; this path reads: {known}")
        return await endpoint.handler(request)

    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text, headers = error.detail, dict(error.headers or {})
    if error.status_code == 413:
        state_of(request).refused("too_large")
    if error.status_code == 405:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        text = f"{request.method} is not possible here; use {headers.get('Allow', 'another method')}"
    elif error.status_code == 404:
        text = f"there is nothing at {request.url.path[:200]}; see /docs"
    return json_response({"error": text}, error.status_code, headers)


async def _error(request: Request, error: Exception) -> Response:
    state_of(request).refused(reason_of(error))
    return json_response({"error": text_of(error)}, status_of(error).http, headers_of(error))


async def _client_gone(request: Request, error: Exception) -> Response:
    # Nobody reads it; the log and the metrics tell it from requests that were refused.
    return json_response({"error": "the client closed the connection"}, 499)
