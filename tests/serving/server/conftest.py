from pathlib import Path

import pytest
from server_requests import LIMIT
from starlette.testclient import TestClient

from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.server.http.app import create_app
from serving.server.limits import Limits
from serving.server.state import ModelRepository, ServerState


@pytest.fixture(scope="module")
def predictor(model_file: Path) -> Predictor:
    return open_model(model_file.read_bytes(), version="3", threads=1)


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> TestClient:
    """A client that shows a crash of the server as the 500 that a real client would see."""
    return TestClient(
        create_app(ServerState(limits=Limits(max_body=LIMIT), models=ModelRepository(predictor))),
        raise_server_exceptions=False,
    )
