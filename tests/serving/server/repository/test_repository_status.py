"""What a repository says of itself: its default, the log, the index, and reasons for clients without paths."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_store import Store, sealed_model, served
from starlette.testclient import TestClient
from stub_server import until
from tiny_model import build_model

from serving.runtime.errors import InputError
from serving.server.http.app import create_app
from serving.server.log import OncePerInterval
from serving.server.options import parse_options
from serving.server.repository.layout import Repository
from serving.server.repository.models import ModelRepository
from serving.server.repository.status import short_reason
from serving.server.state import ServerState


@contextmanager
def looking(store: Store, poll_s: float = 0.05) -> Iterator[ModelRepository]:
    repository = ModelRepository(sources=[Repository(store.uri)], poll_s=poll_s)
    repository.begin()
    until(lambda: not repository.loading, 20)
    try:
        yield repository
    finally:
        asyncio.run(repository.stop(1))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the server's log holds, which has one warning of a kind a minute."""
    written: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(OncePerInterval())
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def states(repository: ModelRepository) -> dict[tuple[str, str], tuple[str, str]]:
    found = {(one.name, one.version): (one.state, one.reason) for one in repository.index()}
    assert len(found) == len(repository.index())
    return found


def test_the_default_stays_when_other_models_come(folder_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder_store.put("tiny/1/model.onnx", sealed_model(1))
    with looking(folder_store) as repository:
        assert repository.get().name == "tiny"
        for name, content in (("broken", b"half"), ("another", sealed_model(2))):
            folder_store.put(f"{name}/1/model.onnx", content)
            until(lambda name=name: any(one.name == name and one.state != "LOADING" for one in repository.index()), 20)
            assert repository.get().name == "tiny"
        assert caplog.text.count("requests that name no model still go to tiny") == 1
        folder_store.delete("another")
        folder_store.delete("tiny")
        folder_store.put("other/1/model.onnx", sealed_model(3))
        until(lambda: repository.names == ["other"], 20)
        assert repository.get().name == "other"


def test_a_broken_model_is_no_reason_to_have_no_default(folder_store: Store) -> None:
    folder_store.put("broken/1/model.onnx", b"half")
    folder_store.put("tiny/1/model.onnx", sealed_model(1))
    folder_store.put("zero/1/model.onnx", b"half")
    with looking(folder_store, 0) as repository:
        assert repository.get().name == "tiny"
    folder_store.put("zero/1/model.onnx", sealed_model(2))
    with looking(folder_store, 0) as repository, pytest.raises(InputError, match="name one of 'tiny', 'zero'"):
        repository.get()


def test_the_log_has_every_reason_once(folder_store: Store, lines: list[str]) -> None:
    folder_store.put("tiny/1/model.onnx", sealed_model(1))
    folder_store.put("tiny/2/model.onnx", b"half")
    models = folder_store.models()
    served(models)
    folder_store.put("tiny/2/model.onnx", sealed_model(2))
    served(models)
    folder_store.put("foreign/1/model.onnx", build_model(metadata={"author": "x"}))
    folder_store.put("hats/config.pbtxt", "name: 'caps'")
    folder_store.put("caps/config.pbtxt", "name: 'hats'")
    for _ in range(3):
        served(models)
    folder_store.put("foreign/1/model.onnx", b"half")
    for _ in range(3):
        served(models)
    expected = [
        ("model tiny ", "not an ONNX model"),
        ("model caps ", "its name is 'hats'"),
        ("model hats ", "its name is 'caps'"),
        ("model foreign ", "not a Facet model"),
        ("model foreign ", "not an ONNX model"),
    ]
    assert len(lines) == len(expected), lines
    for line, (model, reason) in zip(lines, expected, strict=True):
        assert line.startswith(model) and reason in line and folder_store.uri in line


def test_a_broken_configuration_leaves_what_answers_ready(folder_store: Store) -> None:
    folder_store.put("tiny/1/model.onnx", sealed_model(1))
    models = folder_store.models()
    served(models)
    folder_store.put("tiny/config.pbtxt", "{")
    assert served(models) == [("tiny", "1")]
    (status,) = models.statuses
    assert (status.version, status.state) == ("1", "READY")
    assert status.reason.startswith("tiny/config.pbtxt: not in protobuf's text format")


def test_what_looks_like_a_version_and_is_none_is_said(folder_store: Store, lines: list[str]) -> None:
    folder_store.put("tiny/2/model.onnx", sealed_model(1))
    folder_store.put("tiny/03/model.onnx", sealed_model(2))
    folder_store.put("tiny/best/model.onnx", sealed_model(3))
    folder_store.put("tiny/assets/readme.txt", "no model")
    for empty in ("emptym", "broken/1", "tiny/1", "tiny/4", "lost+found", ".git/5"):
        Path(folder_store.uri, empty).mkdir(parents=True)
    with looking(folder_store) as repository:
        no_version = "is no version; expected a number without leading zeros, such as 1"
        expected = {
            ("broken", "1"): ("UNAVAILABLE", "broken/1 is empty; expected model.onnx in it"),
            ("emptym", ""): ("UNAVAILABLE", "emptym is empty; expected a folder such as 1 with model.onnx"),
            ("tiny", "2"): ("READY", ""),
            ("tiny", "03"): ("UNAVAILABLE", f"tiny/03 {no_version}"),
            ("tiny", "4"): ("UNAVAILABLE", "tiny/4 is empty; expected model.onnx in it"),
            ("tiny", "best"): ("UNAVAILABLE", f"tiny/best {no_version}"),
        }
        assert states(repository) == expected and repository.failures == 5
        assert repository.get().name == "tiny"
        asyncio.run(repository.load("tiny"))
        with pytest.raises(InputError, match="'broken' cannot be loaded: broken/1 is empty"):
            asyncio.run(repository.load("broken"))
        folder_store.put("broken/1/model.onnx", sealed_model(4))
        until(lambda: states(repository)["broken", "1"] == ("READY", ""), 20)
    assert sorted(lines) == sorted(
        f"model {name}: {folder_store.uri}/{reason}" for (name, _), (_, reason) in expected.items() if reason
    )


def test_clients_of_an_empty_repository_are_told_to_come_again(folder_store: Store, lines: list[str]) -> None:
    with looking(folder_store, 30) as repository:
        until(lambda: bool(lines))
        assert lines == [f"there is no model yet that answers in {folder_store.uri}; looking again every 30 s"]
        client = TestClient(create_app(ServerState(models=repository)))
        answer = client.post("/predict", content=b"x")
        assert (answer.status_code, answer.json()) == (503, {"error": "there is no model yet"})
        assert 20 < int(answer.headers["Retry-After"]) <= 30
        assert client.get("/v2/models/tiny").status_code == 404


@pytest.mark.parametrize(("poll_s", "least", "most"), [(40, 30, 40), (0, 60, 60)])
def test_clients_of_a_broken_model_learn_no_path(folder_store: Store, poll_s: float, least: int, most: int) -> None:
    folder_store.put("broken/1/model.onnx", b"half")
    with looking(folder_store, poll_s) as repository:
        client = TestClient(create_app(ServerState(models=repository)))
        short = "broken/1: not an ONNX model that onnxruntime can load"
        answer = client.post("/predict", content=b"x")
        assert answer.status_code == 503 and least <= int(answer.headers["Retry-After"]) <= most
        assert answer.json() == {"error": f"model 'broken' cannot be loaded: {short}"}
        assert client.get("/v2/health/ready").json()["error"] == f"no model can be loaded: {short}"
        loaded = client.post("/v2/repository/models/broken/load")
        assert (loaded.status_code, loaded.json()) == (400, answer.json())


@pytest.mark.parametrize(
    ("text", "uri", "expected"),
    [
        ("/srv/my models/mask/1: it fails", "/srv/my models/", "mask/1: it fails"),
        ("/srv/m.onnx: it fails", "file:///srv/m.onnx", "m.onnx: it fails"),
        ("s3://b/p/mask/1: its member s3://other/a/b: gone", "s3://b/p", "mask/1: its member b: gone"),
        (
            "models:/faces@best: http://10.0.0.7:5000/api is gone",
            "models:/faces@best",
            "models:/faces@best: *** is gone",
        ),
        ("m/1: labels 30-59/x and am/1", "m", "1: labels 30-59/x and am/1"),
        ("no model: [ONNXRuntimeError] : 7 : x", "/m", "no model"),
        ("it is unloaded", "/m", "it is unloaded"),
    ],
)
def test_a_reason_for_clients(text: str, uri: str, expected: str) -> None:
    assert short_reason(text, uri) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "m", "--name", "a b/c"], "'a b/c' cannot be the name of a served model"),
        (["--model", "m", "--name", ".."], "'..' cannot be the name"),
        (["--repository", "r", "--name", "faces"], "in a repository each folder gives the name"),
        (["--model", "m", "--model", "n", "--name", "faces"], "--name goes with a single model"),
    ],
)
def test_a_name_that_no_request_would_reach(options: list[str], expected: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse_options(options)
    assert expected in capsys.readouterr().err
