"""The HTTP application: its routes and its errors."""

from importlib import metadata as distribution

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.server.errors import STATUS, headers_of, reason_of, status_of, text_of
from serving.server.http.guard import guards
from serving.server.http.inference import infer
from serving.server.http.predict import predict
from serving.server.http.request import model_of, state_of
from serving.server.http.watch import Watch
from serving.server.inference import describe
from serving.server.state import ServerState
from serving.server.web.routes import routes as door_page


def create_app(state: ServerState) -> Starlette:
    """Make the application that serves `state.models`; every error is `{"error": text}`."""
    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/metrics", _metrics),
        Route("/v2", _server_metadata),
        Route("/v2/health/live", _live),
        Route("/v2/health/ready", _ready),
        Route("/v2/models", _models),
    ]
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(model, _metadata),
            Route(f"{model}/ready", _model_ready),
            Route(f"{model}/infer", infer, methods=["POST"]),
        ]
    routes += door_page()
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Watch), *guards(state)],
        exception_handlers=dict.fromkeys(STATUS, _error) | {HTTPException: _http_error, ClientDisconnect: _client_gone},
    )
    app.router.redirect_slashes = False
    app.state.server = state
    return app


async def _server_metadata(request: Request) -> Response:
    try:
        version = distribution.version("facet")
    except distribution.PackageNotFoundError:
        version = "unknown"
    return JSONResponse({"name": "facet", "version": version, "extensions": []})


async def _live(request: Request) -> Response:
    return JSONResponse({"live": True})


async def _ready(request: Request) -> Response:
    return _readiness(state_of(request).unready, {})


async def _metrics(request: Request) -> Response:
    state = state_of(request)
    models = [(model.name, model.version) for model in state.models.models]
    text = state.metrics.text(ready=not state.unready, models=models, pending=state.lanes.pending())
    return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _models(request: Request) -> Response:
    return JSONResponse({"models": state_of(request).models.names})


async def _metadata(request: Request) -> Response:
    model = model_of(request)
    return JSONResponse(describe(model, state_of(request).models.versions(model.name)))


async def _model_ready(request: Request) -> Response:
    state, model = state_of(request), model_of(request)
    return _readiness(state.unready if state.draining else "", {"name": model.name})


def _readiness(unready: str, body: dict[str, object]) -> Response:
    if unready:
        return JSONResponse(body | {"ready": False, "error": unready}, 503)
    return JSONResponse(body | {"ready": True})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = error.detail
    if error.status_code == 413:
        state_of(request).refused("too_large")
    if error.status_code == 405:
        text = f"{request.method} is not possible here; use {(error.headers or {}).get('Allow', 'another method')}"
    elif error.status_code == 404:
        text = f"there is nothing at {request.url.path[:200]}; see /v2/models and POST /predict"
    return JSONResponse({"error": text}, error.status_code, headers=error.headers)


async def _error(request: Request, error: Exception) -> Response:
    state_of(request).refused(reason_of(error))
    return JSONResponse({"error": text_of(error)}, status_of(error).http, headers=headers_of(error))


async def _client_gone(request: Request, error: Exception) -> Response:
    # Nobody reads it; the log and the metrics tell it from requests that were refused.
    return JSONResponse({"error": "the client closed the connection"}, 499)
