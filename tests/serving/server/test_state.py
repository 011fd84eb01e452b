"""Several models in one server: names, versions, the default, and what is said of unknown ones."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from server_requests import LIMIT, expect_error, picture
from starlette.testclient import TestClient
from stub_server import until
from tiny_model import card_facts

from serving.runtime.errors import NotFoundError, NotReadyError
from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.server.http.app import create_app
from serving.server.limits import Limits
from serving.server.repository.models import ModelRepository
from serving.server.repository.source import FoundModel, SingleModel
from serving.server.state import ServerState

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
    repository = ModelRepository(*models)
    assert repository.names == ["tiny", "hats"] and repository.versions("tiny") == ["1", "2"]
    assert repository.get() is repository.get("tiny") is repository.get("tiny", "1") is models[0]
    assert repository.get("tiny", "2") is repository.get("", "2") is models[2]
    assert repository.get("hats") is models[1]
    with pytest.raises(NotFoundError, match="there is no model 'caps' here; this server has 'tiny', 'hats'"):
        repository.get("caps")
    with pytest.raises(NotFoundError, match="model 'tiny' has no version '3' here; it has '1', '2'"):
        repository.get("tiny", "3")


class Waiting(SingleModel):
    """A source that is looked at when the test lets it."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.go = threading.Event()

    def look(self) -> list[FoundModel]:
        assert self.go.wait(20)
        return super().look()


def test_a_model_is_served_while_others_load(
    make_model: Callable[..., bytes], model_file: Path, tmp_path: Path
) -> None:
    hat = tmp_path / "hats.onnx"
    hat.write_bytes(make_model(card_facts(name="hats", label_space="hat:cap,none", heads=HAT)))
    sources = [Waiting(str(model_file)), Waiting(str(hat))]
    repository = ModelRepository(sources=sources)
    with pytest.raises(NotReadyError, match="the model is still loading"):
        repository.get()
    repository.begin()
    sources[0].go.set()
    until(lambda: repository.names == ["tiny"])
    assert repository.get().name == "tiny" and [one.state for one in repository.index()] == ["READY"]
    client = TestClient(create_app(ServerState(limits=Limits(max_body=LIMIT), models=repository)))
    assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    assert client.get("/v2/health/ready").status_code == 503
    waiting = client.get("/v2/models/hats/ready")
    expect_error(waiting, 503, "model 'hats' is still loading")
    assert waiting.headers["retry-after"] == "1"
    sources[1].go.set()
    until(lambda: not repository.loading)
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/hats/ready").json() == {"name": "hats", "ready": True}
    expect_error(client.get("/v2/models/caps/ready"), 404, "'tiny', 'hats'")


def test_requests_reach_the_model_that_they_name(models: list[Predictor]) -> None:
    client = TestClient(create_app(ServerState(limits=Limits(max_body=LIMIT), models=ModelRepository(*models))))
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
