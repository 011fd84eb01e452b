"""What the server knows while it runs: its model, or why there is none yet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.runtime.cpus import usable_cpus
from serving.runtime.errors import NotFoundError
from serving.runtime.predictor import Predictor
from serving.server.metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class ServerState:
    """Shared by all requests.

    Attributes:
        max_body: the largest request body in bytes.
        model: None until it is loaded.
        failure: why loading failed; "" while it has not.
        draining: a stop was asked for; requests are still answered, but no more should come.
        metrics: what Prometheus reads.
        workers: how many requests may decode and compute at the same time; the others wait.
    """

    max_body: int
    model: Predictor | None = None
    failure: str = ""
    draining: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    workers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(usable_cpus()))

    @property
    def unready(self) -> str:
        """Why this server wants no requests; "" when it is ready."""
        if self.draining:
            return "the server is stopping"
        return "" if self.model else "the model is still loading"


def state_of(request: Request) -> ServerState:
    """Give the state of the server that a request came to."""
    state = request.app.state.server
    assert isinstance(state, ServerState)
    return state


def loaded_model(request: Request) -> Predictor:
    """Give the model; HTTPException 503 while it is loading."""
    model = state_of(request).model
    if model is None:
        raise HTTPException(503, "the model is still loading; try again soon", headers={"Retry-After": "1"})
    return model


def named_model(request: Request) -> Predictor:
    """Give the model that the request's path names; NotFoundError for another name or version."""
    model = loaded_model(request)
    name, version = request.path_params["model"], request.path_params.get("version")
    if name != model.name:
        raise NotFoundError(f"there is no model '{name}' here; this server has '{model.name}'")
    if version is not None and version != model.version:
        raise NotFoundError(f"model '{name}' has no version '{version}' here; this server has '{model.version}'")
    return model


async def compute(request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that decodes or computes in a worker thread, so that other requests are not held up."""
    return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs), limiter=state_of(request).workers)
