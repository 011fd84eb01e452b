"""Schemathesis against every route: requests that follow the OpenAPI document, and others that do not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from server_requests import LIMIT

from serving.runtime.load import open_model
from serving.server.http.app import create_app
from serving.server.http.routes import ENDPOINTS, Endpoint
from serving.server.limits import Limits
from serving.server.state import ModelRepository, ServerState

EXAMPLES = 100


@pytest.fixture(scope="module")
def api(model_file: Path) -> Any:
    import schemathesis  # seconds, and every run of the tests imports this file

    model = open_model(model_file.read_bytes(), version="3", threads=1)
    state = ServerState(limits=Limits(max_body=LIMIT), models=ModelRepository(model))
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(state))


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_route_answers_as_the_document_says(api: Any, endpoint: Endpoint) -> None:
    from schemathesis import GenerationMode

    operation = api[endpoint.path][endpoint.method]
    cases = operation.as_strategy()
    if endpoint.body or endpoint.query or "{" in endpoint.path:
        cases = st.one_of(cases, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        derandomize=True,
    )
    @given(case=cases, known=st.integers(0, 3))
    def send(case: Any, known: int) -> None:
        if known and "model" in case.path_parameters:
            case.path_parameters |= {"model": "tiny"} | ({"version": "3"} if "{version}" in endpoint.path else {})
        if known and "model" in (case.query or {}):
            case.query["model"] = "tiny"
        response = case.call()
        assert response.status_code < 500, response.text
        operation.validate_response(response)

    send()
