"""A graph may give a feature map for people: no protocol of the server describes, takes or gives it."""

import numpy as np
import pytest
from server_requests import LIMIT
from starlette.testclient import TestClient
from tiny_model import build_looking_model

from serving.runtime.load import open_model
from serving.server.http.app import create_app
from serving.server.inference import configuration, describe
from serving.server.limits import Limits
from serving.server.state import ModelRepository, ServerState

REGION = (slice(0, 40), slice(0, 16))


@pytest.fixture(scope="module")
def client() -> TestClient:
    model = open_model(build_looking_model(REGION, features=True), version="3", threads=1)
    return TestClient(create_app(ServerState(limits=Limits(max_body=LIMIT), models=ModelRepository(model))))


def test_the_server_answers_as_without_it(client: TestClient) -> None:
    with_map, without = (
        open_model(build_looking_model(REGION, features=given), version="3", threads=1) for given in (True, False)
    )
    assert describe(with_map, ["3"]) == describe(without, ["3"])
    assert configuration(with_map) | {"parameters": {}} == configuration(without) | {"parameters": {}}
    assert [output["name"] for output in client.get("/v2/models/tiny").json()["outputs"]] == ["mask"]
    image = np.full((1, 40, 32, 3), 90, np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 40, 32, 3], "data": image.tolist()}
    answer = client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200 and [output["name"] for output in answer.json()["outputs"]] == ["mask"]
    refused = client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "outputs": [{"name": "features"}]})
    assert refused.status_code == 400 and "the model has no output 'features'; it has mask" in refused.json()["error"]
