"""The serving image: ready soon, answers as the model was judged, healthy, and gone when told to stop."""

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import container_images
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.predictions import read_predictions
from pipelines.local.run import Run
from pipelines.local.stack import Stack
from pipelines.local.supervisor import free_port

pytestmark = pytest.mark.containers
READY_SECONDS = 3.0


@contextmanager
def serving(engine: Any, hardened: dict[str, Any], **environment: str) -> Iterator[tuple[Any, str, float]]:
    """A container of the serving image, its address, and the seconds from `docker run` to ready."""
    port = free_port(None)
    began = time.monotonic()
    container = engine.containers.run(
        container_images.SERVE,
        detach=True,
        environment=environment | {"FACET_PORT": str(port), "FACET_HOST": "127.0.0.1"},
        **hardened,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/v2/health/ready", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() - began < 60, container.logs().decode()
                time.sleep(0.02)
        yield container, url, time.monotonic() - began
    finally:
        container.remove(force=True)


def test_a_model_of_the_registry(engine: Any, hardened: dict[str, Any], stack: Stack, in_containers: Run) -> None:
    """What `docker run -e FACET_MODEL_URI=models:/faces@champion` serves is what the report of the run judged."""
    table = read_predictions(in_containers.folder / "predict/predictions")
    archive = ImageArchive(in_containers.folder / "ingest/images")
    with serving(engine, hardened, FACET_MODEL_URI="models:/faces@champion", **stack.environment) as (
        container,
        url,
        _,
    ):
        for row in range(0, len(table.faces), 9):
            request = urllib.request.Request(f"{url}/predict", data=archive.read(table.faces[row].path), method="POST")
            with urllib.request.urlopen(request) as answer:
                (face,) = json.load(answer)["faces"]
            got = list(face["heads"]["mask_gender_age"]["probabilities"].values())
            assert np.abs(got - table.heads["mask_gender_age"][row]).max() < 1e-3
        assert container.exec_run(["id", "-u"]).output.strip() == b"1000"
        assert container.exec_run(["touch", "/app/x"]).exit_code == 1
        container.kill("SIGTERM")
        assert container.wait(timeout=30)["StatusCode"] == 0


def test_ready_in_three_seconds(engine: Any, hardened: dict[str, Any], in_containers: Run) -> None:
    folder = str(in_containers.folder.resolve() / "export-onnx/model")
    options = hardened | {"volumes": {folder: {"bind": "/model", "mode": "ro"}}}
    took = []
    for _ in range(3):
        with serving(engine, options, FACET_MODEL_URI="/model/model.onnx") as (_, _, seconds):
            took.append(seconds)
    print("serve ready after", " ".join(f"{seconds:.2f}" for seconds in took), "s")
    assert sorted(took)[1] < READY_SECONDS


def test_the_health_check_follows_the_server(engine: Any, hardened: dict[str, Any], model_file: Path) -> None:
    options = hardened | {
        "volumes": {str(model_file.parent): {"bind": "/model", "mode": "ro"}},
        "user": f"{model_file.stat().st_uid}:{model_file.stat().st_gid}",
        "healthcheck": {"interval": 10**9},
    }
    with serving(engine, options, FACET_MODEL_URI=f"/model/{model_file.name}") as (container, _, _):
        deadline = time.monotonic() + 30
        while engine.api.inspect_container(container.id)["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_wrong_model_ends_it_with_one_line(engine: Any, hardened: dict[str, Any]) -> None:
    environment = {"FACET_MODEL_URI": "/model/none.onnx", "FACET_ALLOW_ANONYMOUS": "1"}
    assert ends_with(engine, hardened, environment).startswith("error: /model/none.onnx")


def test_it_is_not_open_to_anybody_unless_told(engine: Any, hardened: dict[str, Any]) -> None:
    assert "FACET_ALLOW_ANONYMOUS=1" in ends_with(engine, hardened, {"FACET_MODEL_URI": "/model/none.onnx"})


def ends_with(engine: Any, hardened: dict[str, Any], environment: dict[str, str]) -> str:
    """The last line of a server that ends with code 2."""
    container = engine.containers.run(container_images.SERVE, detach=True, environment=environment, **hardened)
    try:
        assert container.wait(timeout=30)["StatusCode"] == 2
        return str(container.logs(stdout=False).decode().splitlines()[-1])
    finally:
        container.remove(force=True)
