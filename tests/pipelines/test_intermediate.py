"""The committed IR is what the code compiles to, and says what a cluster must know."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import ClassificationConfig
from pipelines.intermediate import COMMITTED, compile_pipeline, drift, local_view


@pytest.fixture(scope="module")
def compiled() -> str:
    return compile_pipeline()


@pytest.fixture(scope="module")
def documents(compiled: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(compiled))


def test_committed_ir_is_up_to_date(compiled: str) -> None:
    assert not drift(compiled), f"run `make pipeline-compile` and commit the result\n{drift(compiled)}"


def test_drift_is_shown_line_by_line(compiled: str, tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(compiled.replace("facet/data:latest", "facet/data:old"))
    difference = drift(compiled, old)
    assert "-    container" not in difference
    assert "facet/data:old" in difference
    assert "facet/data:latest" in difference
    assert drift(compiled, tmp_path / "missing.yaml")


def test_check_fails_on_drift_and_ignores_the_image_variables(tmp_path: Path) -> None:
    facet = [sys.executable, "-m", "pipelines.cli", "compile", "--check", "--output"]
    environment = {"FACET_IMAGE_DATA": "elsewhere/data:1", "PATH": ""}
    good = subprocess.run([*facet, str(COMMITTED)], env=environment, capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    (tmp_path / "bad.yaml").write_text(COMMITTED.read_text().replace("maxRetryCount: 2", "maxRetryCount: 9", 1))
    bad = subprocess.run([*facet, str(tmp_path / "bad.yaml")], env=environment, capture_output=True, text=True)
    assert bad.returncode == 2
    assert "maxRetryCount: 9" in bad.stdout
    assert "make pipeline-compile" in bad.stderr


def test_form_defaults_are_the_config_defaults(documents: list[dict[str, Any]]) -> None:
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert {name: spec["defaultValue"] for name, spec in parameters.items()} == ClassificationConfig().model_dump()
    assert all(spec.get("description") for spec in parameters.values()), "every parameter is explained in the form"


def test_what_reads_or_changes_the_outside_is_never_cached(documents: list[dict[str, Any]]) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    (branch,) = [name for name in tasks if name.startswith("condition")]
    inner = documents[0]["components"][f"comp-{branch}"]["dag"]["tasks"]
    cached = {name for name, task in {**tasks, **inner}.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached == {"curate", "split", "data-report", "train-classifier", "export-onnx", "predict", "evaluate"}
    assert set(inner) == {"promote"}
    assert tasks[branch]["triggerPolicy"]["condition"] == (
        "inputs.parameter_values['pipelinechannel--evaluate-Output'] == true"
    )


def test_tasks_are_equipped_for_a_cluster(documents: list[dict[str, Any]]) -> None:
    spec, platform = documents
    executors = spec["deploymentSpec"]["executors"]
    assert all(executor["container"]["resources"] for executor in executors.values())
    assert {executor["container"]["image"] for executor in executors.values()} == {
        "facet/data:latest",
        "facet/train:latest",
    }
    extra = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    with_secret = {name.removeprefix("exec-") for name, config in extra.items() if "secretAsEnv" in config}
    assert with_secret == {"ingest", "curate", "split", "train-classifier", "evaluate", "register", "promote"}
    assert extra["exec-train-classifier"]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    assert "retryPolicy" not in spec["root"]["dag"]["tasks"]["register"], "a second registration is a second version"


def test_the_local_view_differs_only_in_what_one_machine_has_not(compiled: str) -> None:
    spec, local = next(yaml.safe_load_all(compiled)), yaml.safe_load(local_view(compiled))
    assert "retryPolicy" not in str(local)
    assert "resources" not in str(local["deploymentSpec"])
    for component in [spec["root"], *spec["components"].values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    for executor in spec["deploymentSpec"]["executors"].values():
        del executor["container"]["resources"]
    assert local == spec
