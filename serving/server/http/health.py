"""Whether the server lives and wants requests, in the words of each protocol; and its metrics.

No key is needed here. Who has none where others do is not told why: reasons name models and where they are stored.
"""

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.errors import NotFoundError, NotReadyError
from serving.server.http.guard import may_know
from serving.server.http.request import json_response, model_of, state_of

_UNTOLD = "not ready; with an API key the answer says why"


async def live(request: Request) -> Response:
    """Tell that the process answers."""
    return json_response({"live": True})


async def ready(request: Request) -> Response:
    """Tell whether the server wants requests."""
    return readiness(_told(request, state_of(request).unready), {})


async def model_ready(request: Request) -> Response:
    """Tell whether a model, or a version of it, answers requests."""
    state = state_of(request)
    try:
        model = model_of(request)
    except (NotFoundError, NotReadyError):
        if may_know(state, request.headers):
            raise
        return readiness(_UNTOLD, {"name": request.path_params["model"]})
    return readiness(_told(request, state.hindered), {"name": model.name})


async def ping(request: Request) -> Response:
    """Tell whether the server wants requests, as TorchServe and MLflow do."""
    unready = _told(request, state_of(request).unready)
    return json_response(
        {"status": "Unhealthy", "error": unready} if unready else {"status": "Healthy"}, status(unready)
    )


async def metrics(request: Request) -> Response:
    """Return Prometheus' metrics."""
    state = state_of(request)
    models = [(model.name, model.version) for model in state.models.models]
    text = state.metrics.text(
        ready=not state.unready, models=models, failures=state.models.failures, pending=state.lanes.pending()
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def readiness(unready: str, body: dict[str, Any]) -> Response:
    """Return `body` with `ready`, and why not."""
    return json_response(body | ({"ready": False, "error": unready} if unready else {"ready": True}), status(unready))


def status(unready: str) -> int:
    """Return the HTTP status of being ready or not."""
    return 503 if unready else 200


def _told(request: Request, reason: str) -> str:
    """Return a reason, "" for none, as this caller may know it."""
    return reason if not reason or may_know(state_of(request), request.headers) else _UNTOLD
