"""What the handlers read from a request: the server's state, and the model that the request names."""

from starlette.requests import Request

from serving.runtime.predictor import Predictor
from serving.server.state import ServerState


def state_of(request: Request) -> ServerState:
    """Return the state of the server that a request came to."""
    state = request.app.state.server
    assert isinstance(state, ServerState)
    return state


def model_of(request: Request) -> Predictor:
    """Return the model of the path, or of the query parameters `model` and `version`; by default the default model.

    Raises as `ModelRepository.get`.
    """
    named = request.path_params or request.query_params
    return state_of(request).models.get(named.get("model", ""), named.get("version", ""))
