"""The committed IR is what the code compiles to, and has the settings for a cluster."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

from components import container_images
from pipelines.catalog import PIPELINES, WITH_FACES
from pipelines.command.config import resolve
from pipelines.intermediate import (
    COMPILED,
    IMAGE_VARIABLES,
    committed,
    compile_pipeline,
    drift,
    images,
    local_view,
    read_documents,
)


@pytest.fixture(scope="module", params=PIPELINES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def compiled(name: str) -> str:
    return compile_pipeline(name)


@pytest.fixture(scope="module")
def documents(compiled: str) -> list[dict[str, Any]]:
    return read_documents(compiled)


@pytest.fixture(scope="module")
def classification() -> list[dict[str, Any]]:
    return read_documents(compile_pipeline("classification"))


def test_committed_ir_is_up_to_date(name: str, compiled: str) -> None:
    difference = drift(compiled, committed(name))
    assert not difference, f"run `make pipeline-compile` and commit the result\n{difference}"


def test_the_images_of_a_pipeline_can_be_replaced(name: str, compiled: str) -> None:
    """Those that a run in containers looks for, and a submission replaces by pushed ones."""
    known = {getattr(container_images, variable.removeprefix("FACET_IMAGE_")) for variable in IMAGE_VARIABLES}
    assert {container_images.DATA} <= set(images(compiled)) <= known
    assert (container_images.TRAIN in images(compiled)) == ("exec-train-classifier" in compiled)


def test_every_committed_ir_is_that_of_a_pipeline() -> None:
    assert {path.name for path in COMPILED.iterdir()} == {f"{name}.yaml" for name in PIPELINES}


def test_drift_is_shown_line_by_line(compiled: str, tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(compiled.replace("facet/data:latest", "facet/data:old"))
    difference = drift(compiled, old)
    assert "-    container" not in difference
    assert "facet/data:old" in difference
    assert "facet/data:latest" in difference
    assert drift(compiled, tmp_path / "missing.yaml")


def test_check_fails_on_drift_and_ignores_the_image_variables(tmp_path: Path) -> None:
    facet = [sys.executable, "-m", "pipelines.command.main", "compile", "--check"]
    environment = {"FACET_IMAGE_DATA": "elsewhere/data:1", "PATH": ""}
    good = subprocess.run(facet, env=environment, capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.count(" is up to date\n") == len(PIPELINES)
    text = committed("classification").read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("maxRetryCount: 2", "maxRetryCount: 9", 1))
    one = [*facet, "--output", str(tmp_path / "bad.yaml")]
    bad = subprocess.run([*one, "-p", "classification"], env=environment, capture_output=True, text=True)
    assert bad.returncode == 2
    assert "maxRetryCount: 9" in bad.stdout
    assert "make pipeline-compile" in bad.stderr
    unnamed = subprocess.run(one, env=environment, capture_output=True, text=True)
    assert (unnamed.returncode, unnamed.stderr.split(":")[:2]) == (2, ["facet", " --output takes one pipeline"])
    unknown = subprocess.run([*facet, "-p", "classify"], env=environment, capture_output=True, text=True)
    assert unknown.stderr.startswith("facet: --pipeline classify: unknown pipeline, did you mean 'classification'?")


def test_the_committed_ir_is_what_kfp_loads_and_a_server_parses(name: str, documents: list[dict[str, Any]]) -> None:
    loaded = components.load_component_from_file(str(committed(name)))
    assert loaded.name == name.replace("_", "-")
    config = PIPELINES[name].config()
    assert config.pipeline == name
    assert set(loaded.component_spec.inputs) == set(config.arguments())
    spec, platform = documents
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert json_format.MessageToDict(parsed) == spec
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())


def test_the_form_of_an_upload_by_hand(name: str, documents: list[dict[str, Any]]) -> None:
    """The form in the web interface has valid defaults, and a description of each field."""
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    defaults = {name: spec["defaultValue"] for name, spec in parameters.items()}
    assert resolve("", [f"pipeline={name}"], {}).arguments() == defaults, "the defaults pass every check of the config"
    finds_faces = name in WITH_FACES.values()
    assert len(parameters) <= (46 if "detector_model" in parameters else 41 if finds_faces else 34)
    for parameter, spec in parameters.items():
        assert len(spec["description"]) > 20, parameter
        assert spec["description"].endswith("."), parameter
        assert spec["isOptional"] is True, parameter


def test_steps_with_external_effects_are_never_cached(classification: list[dict[str, Any]]) -> None:
    tasks = classification[0]["root"]["dag"]["tasks"]
    (branch,) = [name for name in tasks if name.startswith("condition")]
    inner = classification[0]["components"][f"comp-{branch}"]["dag"]["tasks"]
    cached = {name for name, task in {**tasks, **inner}.items() if task.get("cachingOptions", {}).get("enableCache")}
    external = {"ingest", "register", "register-2", "promote", "promote-2"}
    assert external < set(tasks) | set(inner)
    assert cached == (set(tasks) | set(inner)) - external - {branch}


def test_the_local_view_has_no_retries_and_resources(compiled: str) -> None:
    spec, local = read_documents(compiled)[0], yaml.safe_load(local_view(compiled))
    assert "retryPolicy" not in str(local)
    assert "resources" not in str(local["deploymentSpec"])
    for component in [spec["root"], *spec["components"].values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    for executor in spec["deploymentSpec"]["executors"].values():
        del executor["container"]["resources"]
    assert local == spec
    assert "facet-storage" not in str(local["deploymentSpec"])
