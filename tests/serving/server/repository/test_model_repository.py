"""Models that load, answer and are let go of while requests come; stores that fail while they are looked at."""

import asyncio
import gc
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loopback_server import answering
from mlflow_registry import MlflowServer
from model_store import Store, flipped, sealed_model
from server_requests import picture
from starlette.testclient import TestClient
from stub_server import running, until
from tiny_detector import build_detector

from serving.runtime.errors import InputError, NotFoundError, NotReadyError, StorageError
from serving.runtime.load import open_model
from serving.runtime.predictor import Classifier
from serving.runtime.reference import CONFIDENCE, HeadReference, Histogram, Reference
from serving.server.http.app import create_app
from serving.server.repository.layout import Repository
from serving.server.repository.models import ModelRepository
from serving.server.repository.source import SingleModel, Source
from serving.server.state import ServerState

PICTURE = picture()


@contextmanager
def begun(*sources: Source, poll_s: float = 0.0) -> Iterator[ModelRepository]:
    """A repository whose sources have been looked at."""
    repository = ModelRepository(sources=sources, poll_s=poll_s)
    repository.begin()
    until(lambda: not repository.loading or bool(repository.failure), 20)
    try:
        yield repository
    finally:
        asyncio.run(repository.stop(1))


def load(repository: ModelRepository, name: str) -> None:
    asyncio.run(repository.load(name))


def states(repository: ModelRepository) -> list[tuple[str, str, str]]:
    return [(one.name, one.version, one.state) for one in repository.index()]


def test_load_and_unload(folder_store: Store) -> None:
    for name in ("age", "mask"):
        folder_store.put(f"{name}/1/model.onnx", sealed_model(1))
    with begun(Repository(folder_store.uri)) as repository:
        assert states(repository) == [("age", "1", "READY"), ("mask", "1", "READY")]
        with pytest.raises(InputError, match="has several models; name one of 'age', 'mask'"):
            repository.get()
        asyncio.run(repository.unload("age"))
        assert states(repository)[0] == ("age", "1", "UNAVAILABLE") and repository.failures == 0
        with pytest.raises(NotFoundError, match="model 'age' is unloaded"):
            repository.get("age")
        folder_store.put("age/2/model.onnx", sealed_model(2))
        load(repository, "age")
        assert repository.versions("age") == ["2"] and repository.get("age").version == "2"
        folder_store.put("age/3/model.onnx", b"no model")
        with pytest.raises(InputError, match="model 'age' cannot be loaded: .*age/3: not an ONNX model"):
            load(repository, "age")
        assert repository.get("age").version == "2" and repository.failures == 1
        folder_store.put("new/1/model.onnx", sealed_model(3))
        load(repository, "new")
        assert repository.names == ["age", "mask", "new"]
        for call in (repository.load, repository.unload):
            with pytest.raises(NotFoundError, match="there is no model 'hats' here"):
                asyncio.run(call("hats"))
        for name in repository.names:
            asyncio.run(repository.unload(name))
        assert repository.names == [] and repository.unready == "", "it does what it was told"


def test_one_bad_model_is_said_and_the_good_ones_answer(folder_store: Store) -> None:
    folder_store.put("mask/1/model.onnx", sealed_model(1))
    folder_store.put("hats/1/model.onnx", b"no model")
    with begun(Repository(folder_store.uri)) as repository:
        client = TestClient(create_app(ServerState(models=repository)))
        assert client.get("/v2/health/ready").status_code == 200
        assert client.get("/v2/models/mask/ready").status_code == 200
        response = client.get("/v2/models/hats/ready")
        assert response.status_code == 503 and "not an ONNX model" in response.json()["error"]
        assert client.post("/predict?model=hats", content=b"x").status_code == 503
        assert "facet_model_failures 1.0" in client.get("/metrics").text
    folder_store.put("mask/1/model.onnx", b"no model")
    with begun(Repository(folder_store.uri)) as repository:
        response = TestClient(create_app(ServerState(models=repository))).get("/v2/health/ready")
        assert response.status_code == 503 and "no model can be loaded: " in response.json()["error"]


def test_a_single_model_that_is_bad_ends_the_server(folder_store: Store) -> None:
    folder_store.put("model.onnx", b"no model")
    with begun(SingleModel(folder_store.uri)) as repository:
        assert "not an ONNX model" in repository.failure
    with begun(Repository(f"{folder_store.uri}/nothing")) as repository:
        assert "there is no such file or folder" in repository.failure


def test_another_file_may_have_another_name(folder_store: Store) -> None:
    folder_store.put("model.onnx", sealed_model(1))
    with begun(SingleModel(folder_store.uri), SingleModel(folder_store.uri, "mine")) as repository:
        assert repository.names == ["tiny", "mine"]
        folder_store.put("model.onnx", sealed_model(2, name="hats"))
        with pytest.raises(NotFoundError, match="there is no model 'tiny' here; this server has 'hats', 'mine'"):
            load(repository, "tiny")
        load(repository, "mine")
        assert repository.names == ["hats", "mine"] and repository.get().name == "hats"


def test_names_come_from_the_sources_and_not_from_requests(folder_store: Store) -> None:
    folder_store.put("models/mask/1/model.onnx", sealed_model(1))
    folder_store.put("outside/1/model.onnx", sealed_model(2))
    with begun(Repository(f"{folder_store.uri}/models")) as repository:
        client = TestClient(create_app(ServerState(models=repository)))
        for name in ("../outside", "..", ".", "mask/1", "mask/../mask", f"{folder_store.uri}/outside", "mask\0", ""):
            for call in (repository.load, repository.unload):
                with pytest.raises(NotFoundError):
                    asyncio.run(call(name))
            quoted = name.replace("/", "%2f").replace("\0", "%00")
            for path in (f"/v2/models/{quoted}", f"/v2/models/mask/versions/{quoted}x"):
                assert client.get(path).status_code in (200, 404) and client.get(path).json().get("name") != "outside"
            assert client.post(f"/v2/repository/models/{quoted}/load").status_code == 404
        assert repository.names == ["mask"]


def test_the_same_version_of_two_sources_is_loaded_once(folder_store: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path / "other"), tmp_path / "x")
    for store, number in ((folder_store, 1), (other, 1)):
        store.put("mask/1/model.onnx", sealed_model(number))
    with begun(Repository(folder_store.uri), Repository(other.uri)) as repository:
        assert states(repository) == [("mask", "1", "READY")] * 2 and repository.failures == 0
        first = repository.get("mask")
        assert {id(model) for source in repository._sources for model in source.models} == {id(first)}
        other.put("mask/1/model.onnx", sealed_model(2))
        with pytest.raises(InputError, match="mask' cannot be loaded: another source has this version with"):
            load(repository, "mask")
        assert repository.get("mask") is first
        assert [one.reason for one in repository.index() if one.state == "UNAVAILABLE"] == [
            "another source has this version with other files, and those answer"
        ]


def test_a_changed_reference_is_used(folder_store: Store) -> None:
    folder_store.put("mask/1/model.onnx", sealed_model(1))
    with begun(Repository(folder_store.uri)) as repository:
        first = repository.get("mask")
        assert isinstance(first, Classifier) and first.reference is None
        labels = {"worn": 1, "incorrect": 0, "absent": 0}
        confidence = Histogram.of([0.9], CONFIDENCE)
        reference = Reference(heads={"mask": HeadReference(labels=labels, confidence=confidence)})
        folder_store.put("mask/1/reference.json", reference.model_dump_json())
        load(repository, "mask")
        second = repository.get("mask")
        assert isinstance(second, Classifier) and second.reference == reference
        load(repository, "mask")
        assert repository.get("mask") is second, "nothing has changed"


def test_a_request_keeps_its_model_and_then_its_memory_goes(folder_store: Store) -> None:
    """With the server's own lanes and counters, which must not hold on to a model either."""
    folder_store.put("model.onnx", sealed_model(1))
    holding, go = threading.Event(), threading.Event()
    with begun(SingleModel(folder_store.uri)) as repository, running(lanes=2) as server, ThreadPoolExecutor(1) as pool:
        server.state.models = repository
        old, version = weakref.ref(repository.get()), repository.get().version
        hold(repository.get(), holding, go)
        asked = pool.submit(server.request, "POST", "/predict", PICTURE)
        assert holding.wait(20)
        folder_store.put("model.onnx", sealed_model(2))
        load(repository, "tiny")
        _, _, new = server.request("POST", "/predict", PICTURE)
        assert new["version"] == repository.get().version != version and old() is not None
        go.set()
        assert asked.result(20)[2]["version"] == version
        until(lambda: bool(gc.collect() or True) and old() is None, 10)  # the task that sent the answer ends too


def hold(model: Any, holding: threading.Event, go: threading.Event) -> None:
    """Let the model's predictions wait for `go`."""
    predict = type(model).predict

    def wait(*arguments: Any, **options: Any) -> Any:
        holding.set()
        assert go.wait(20)
        return predict(model_of(), *arguments, **options)

    model_of = weakref.ref(model)
    model.predict = wait


# --- stores that fail ----------------------------------------------------------------------------------------------


def test_s3_that_is_gone_for_a_while(s3_store: Store, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    s3_store.put("mask/1/model.onnx", sealed_model(1))
    with begun(Repository(s3_store.uri), poll_s=0.05) as repository:
        there = os.environ["AWS_ENDPOINT_URL"]
        monkeypatch.setenv("FACET_PATIENCE_SECONDS", "0.6")
        with socket.create_server(("127.0.0.1", 0)) as stalled, answering(200, b"<html>busy</html>") as garbage:
            for address in ("127.0.0.1:9", f"127.0.0.1:{stalled.getsockname()[1]}", garbage):
                monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
                began = len(caplog.records)
                until(lambda began=began: len(caplog.records) > began + 1, 20)
                assert repository.failures == 1 and repository.get("mask").version == "1" and repository.unready == ""
                with pytest.raises(StorageError):
                    load(repository, "mask")
        warnings = [record.msg for record in caplog.records if record.levelno == logging.WARNING]
        assert set(warnings) <= {"%s; what is loaded keeps answering", "%s"}, "of one kind: one a minute is written"
        monkeypatch.setenv("AWS_ENDPOINT_URL", there)
        s3_store.put("mask/2/model.onnx", sealed_model(2))
        until(lambda: repository.versions("mask") == ["2"], 20)
        assert repository.failures == 0
        s3_store.put("mask/2/model.onnx", flipped(sealed_model(3)))
        until(lambda: repository.failures == 1, 20)
        s3_store.put("mask/2/model.onnx", sealed_model(3))
        until(lambda: repository.failures == 0, 20)


def test_mlflow_that_answers_anything(mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    version = mlflow.register_run("shaky", {"model.onnx": sealed_model(1)})
    alias = {"name": "shaky", "alias": "champion", "version": version}
    mlflow.call("POST", "/mlflow/registered-models/alias", alias)
    with begun(SingleModel("models:/shaky@champion"), SingleModel("models:/shaky"), poll_s=0.05) as repository:
        assert [one.version for one in repository.index()] == [version] * 2, "of one file, which is loaded once"
        for status, body in (
            (200, b"<html>log in</html>"),
            (200, b'{"model_version": "x"}'),
            (200, b'{"registered_model": {"latest_versions": [1]}, "model_version": {"version": {}}}'),
            (503, b"busy"),
            (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}'),
        ):
            with answering(status, body) as address:
                monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
                until(lambda: repository.failures > 0, 20)
                assert repository.get("shaky").version == version and repository.unready == ""
            monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
            until(lambda: repository.failures == 0, 20)
        newer = mlflow.register_run("shaky", {"model.onnx": sealed_model(2)})
        until(lambda: repository.versions("shaky") == [version, newer], 20)
        assert repository.get("shaky").version == version, "the first source is the default"


def test_a_composite_follows_the_alias_of_a_member(mlflow: MlflowServer, folder_store: Store) -> None:
    versions = [mlflow.register_run("member", {"model.onnx": sealed_model(number)}) for number in (1, 2)]
    alias = {"name": "member", "alias": "champion", "version": versions[0]}
    mlflow.call("POST", "/mlflow/registered-models/alias", alias)
    folder_store.put("green.onnx", build_detector(side=(320, 320)))
    card = '{"name": "people", "detectors": ["green.onnx"], "heads": ["models:/member@champion"]}'
    folder_store.put("composite.json", card)
    with begun(SingleModel(folder_store.uri), poll_s=0.05) as repository:
        first = repository.get("people")
        assert [member.version for member in first.members][1] == versions[0]  # type: ignore[attr-defined]
        mlflow.call("POST", "/mlflow/registered-models/alias", alias | {"version": versions[1]})
        until(lambda: repository.get("people") is not first, 20)
        assert repository.get("people").members[1].version == versions[1]  # type: ignore[attr-defined]


def test_a_slow_store_holds_up_nothing_but_loading(folder_store: Store) -> None:
    folder_store.put("model.onnx", sealed_model(1))

    class Slow(SingleModel):
        def look(self) -> Any:
            time.sleep(0.5)
            return super().look()

    with begun(Slow(folder_store.uri)) as repository:

        async def both() -> float:
            loading = asyncio.create_task(repository.load("tiny"))
            longest, last = 0.0, time.monotonic()
            while not loading.done():
                repository.get("tiny")
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            await loading
            return longest

        assert asyncio.run(both()) < 0.4


def test_fixed_models_are_unloaded_and_come_back() -> None:
    model = open_model(sealed_model(1), version="1", threads=1)
    repository = ModelRepository(model)
    asyncio.run(repository.unload("tiny"))
    assert states(repository) == [("tiny", "1", "UNAVAILABLE")]
    load(repository, "tiny")
    assert repository.get() is model
    with pytest.raises(NotReadyError, match="still loading"):
        ModelRepository(sources=[SingleModel("x")]).get()
