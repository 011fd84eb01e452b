"""Several models in one server: names, versions, the default, and what is said of unknown ones."""

from collections.abc import Callable

import pytest
from server_requests import LIMIT, expect_error, picture
from starlette.testclient import TestClient
from tiny_model import card_facts

from serving.runtime.errors import InputError, NotFoundError, NotReadyError
from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.server.http.app import create_app
from serving.server.limits import Limits
from serving.server.state import ModelRepository, ServerState

HAT = [{"name": "hat", "labels": ["cap", "none"]}]


@pytest.fixture(scope="module")
def models(make_model: Callable[..., bytes]) -> list[Predictor]:
    mask, hat = make_model(), make_model(card_facts(name="hats", label_space="hat:cap,none", heads=HAT))
    return [
        open_model(mask, version="1", threads=1),
        open_model(hat, version="7", threads=1),
        open_model(mask, version="2", threads=1),
    ]


def test_names_versions_and_the_default(models: list[Predictor]) -> None:
    repository = ModelRepository(*models, expected=3)
    assert repository.names == ["tiny", "hats"] and repository.versions("tiny") == ["1", "2"]
    assert repository.get() is repository.get("tiny") is repository.get("tiny", "1") is models[0]
    assert repository.get("tiny", "2") is repository.get("", "2") is models[2]
    assert repository.get("hats") is models[1]
    with pytest.raises(NotFoundError, match="there is no model 'caps' here; this server has 'tiny', 'hats'"):
        repository.get("caps")
    with pytest.raises(NotFoundError, match="model 'tiny' has no version '3' here; it has '1', '2'"):
        repository.get("tiny", "3")
    with pytest.raises(InputError, match="model 'hats' version '7' is given twice"):
        repository.add(models[1])


def test_a_model_is_served_while_others_load(models: list[Predictor]) -> None:
    repository = ModelRepository(expected=2)
    with pytest.raises(NotReadyError, match="the model is still loading"):
        repository.get()
    repository.add(models[0])
    assert repository.get() is models[0]
    client = TestClient(create_app(ServerState(limits=Limits(max_body=LIMIT), models=repository)))
    assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    assert client.get("/v2/health/ready").status_code == 503
    waiting = client.get("/v2/models/hats/ready")
    expect_error(waiting, 503, "model 'hats' is still loading")
    assert waiting.headers["retry-after"] == "1"
    repository.add(models[1])
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/hats/ready").json() == {"name": "hats", "ready": True}
    expect_error(client.get("/v2/models/caps/ready"), 404, "'tiny', 'hats'")


def test_requests_reach_the_model_that_they_name(models: list[Predictor]) -> None:
    client = TestClient(
        create_app(ServerState(limits=Limits(max_body=LIMIT), models=ModelRepository(*models, expected=3)))
    )
    assert client.get("/v2/models").json() == {"models": ["tiny", "hats"]}
    described = client.get("/v2/models/tiny/versions/2").json()
    assert (described["name"], described["versions"]) == ("tiny", ["1", "2"])
    assert client.get("/v2/models/hats").json()["outputs"][0]["labels"] == ["cap", "none"]
    for query, name, version in (
        ("", "tiny", "1"),
        ("?model=tiny", "tiny", "1"),
        ("?model=tiny&version=2", "tiny", "2"),
        ("?version=2", "tiny", "2"),
        ("?model=hats", "hats", "7"),
    ):
        answer = client.post(f"/predict{query}", content=picture()).json()
        assert (answer["model"], answer["version"]) == (name, version)
    assert list(answer["faces"][0]["heads"]) == ["hat"]
    expect_error(client.post("/predict?model=caps", content=picture()), 404, "this server has 'tiny', 'hats'")
    expect_error(client.post("/predict?model=hats&version=8", content=picture()), 404, "it has '7'")
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 40, 32, 3], "data": [0] * 3840}
    inferred = client.post("/v2/models/tiny/versions/2/infer", json={"inputs": [tensor]}).json()
    assert (inferred["model_name"], inferred["model_version"]) == ("tiny", "2")
    labels = {(s.labels["name"], s.labels["version"]) for s in _info(client)}
    assert labels == {("tiny", "1"), ("tiny", "2"), ("hats", "7")}


def _info(client: TestClient) -> list[object]:
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(client.get("/metrics").text)
    return [sample for family in families for sample in family.samples if sample.name == "facet_model_info"]
