"""What Prometheus reads from the server."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from stub_server import until

from serving.runtime.load import open_model
from serving.server.http.app import create_app
from serving.server.limits import Limits
from serving.server.repository.models import ModelRepository
from serving.server.repository.source import SingleModel
from serving.server.state import ServerState


def scrape(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    response = client.get("/metrics")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {(s.name, tuple(sorted(s.labels.values()))): s.value for family in families for s in family.samples}


def test_requests_are_counted_by_endpoint_and_status(model_file: Path) -> None:
    model = open_model(model_file.read_bytes(), version="3", threads=1)
    client = TestClient(create_app(ServerState(limits=Limits(max_body=2**20), models=ModelRepository(model))))
    client.post("/predict", content=b"no image")
    client.post("/predict", content=b"no image")
    client.post("/v2/models/tiny/infer", content=b"{}")
    client.get("/v2/models/another")
    client.get("/made/up/by/the/caller")
    client.get("/v2/health/ready")
    values = scrape(client)
    requests = {key[1]: value for key, value in values.items() if key[0] == "facet_requests_total"}
    assert requests == {("400", "predict"): 2, ("400", "infer"): 1, ("404", "other"): 2}
    assert values["facet_request_seconds_count", ("predict",)] == 2
    assert values["facet_requests_in_progress", ("predict",)] == 0
    assert values["facet_ready", ()] == 1
    assert values["facet_model_info", ("3", "tiny")] == 1
    assert values["process_resident_memory_bytes", ()] > 2**20


def test_a_crash_is_a_500(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ServerState(
        limits=Limits(max_body=2**20), models=ModelRepository(open_model(model_file.read_bytes(), threads=1))
    )
    client = TestClient(create_app(state), raise_server_exceptions=False)
    monkeypatch.setattr("serving.server.http.predict._answer", lambda *arguments: 1 / 0)
    assert client.post("/predict", content=b"any").status_code == 500
    assert scrape(client)["facet_requests_total", ("500", "predict")] == 1


def test_ready_follows_the_server(model_file: Path) -> None:
    models = ModelRepository(sources=[SingleModel(str(model_file))])
    state = ServerState(limits=Limits(max_body=2**20), models=models)
    client = TestClient(create_app(state))
    loading = scrape(client)
    assert loading["facet_ready", ()] == 0 and not any(key[0] == "facet_model_info" for key in loading)
    models.begin()
    until(lambda: not models.loading)
    assert scrape(client)["facet_ready", ()] == 1
    state.draining = True
    assert scrape(client)["facet_ready", ()] == 0
