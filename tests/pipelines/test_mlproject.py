"""`mlflow run` starts the pipeline with a config, a user and parameters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.samples.profiles import draw_sample

ROOT = Path(__file__).parents[2]
RECORDER = f"""#!{sys.executable}
import json, os, shlex, sys
target, arguments = sys.argv[1:]
facts = {{name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}}
name, _, text = arguments.partition("=")
print(json.dumps([target, name, shlex.split(text), facts]))
"""


def started(folder: Path, parameters: dict[str, str], **environment: str) -> tuple[list[str], dict[str, str]]:
    """What `make pipeline-submit` would have been given, and MLflow's variables."""
    from mlflow.projects._project_spec import load_project

    make = folder / "make"
    make.write_text(RECORDER)
    make.chmod(0o755)
    command = load_project(str(ROOT)).get_entry_point("main").compute_command(parameters, None)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    result = subprocess.run(
        ["bash", "-c", command],
        env=kept | environment | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    target, name, arguments, facts = json.loads(result.stdout)
    assert (target, name) == ("pipeline-submit", "ARGS")
    return arguments, facts


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["--config", "classification"]),
        ({"config": "my configs/a.yaml"}, ["--config", "my configs/a.yaml"]),
        (
            {
                "user": "Kim Lee; rm -rf x",
                "parameters": "epochs=5 training.augmentation.arguments.scale=[0.5,1.0]  source=*",
            },
            [
                *("--config", "classification", "--set", "epochs=5"),
                *("--set", "training.augmentation.arguments.scale=[0.5,1.0]"),
                *("--set", "source=*", "--set", "training.user=Kim Lee; rm -rf x"),
            ],
        ),
    ],
)
def test_parameters_become_arguments_whole(tmp_path: Path, parameters: dict[str, str], expected: list[str]) -> None:
    assert started(tmp_path, parameters)[0] == expected


def test_the_run_of_mlflow_is_taken_where_a_server_has_it(tmp_path: Path) -> None:
    given = {"MLFLOW_RUN_ID": "abc", "MLFLOW_EXPERIMENT_ID": "1"}
    server = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    assert started(tmp_path, {}, **given, **server)[1] == given | server
    assert started(tmp_path, {}, **given, MLFLOW_TRACKING_URI="sqlite:///mlflow.db")[1] == {}


def test_the_training_alone_has_the_arguments_of_its_command() -> None:
    entry = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]["train"]
    parser = (ROOT / "components" / "train_classifier" / "__main__.py").read_text()
    for name in entry["parameters"]:
        argument = name if name == "config" else f"--{name}"
        assert f"{{{name}}}" in entry["command"] and f'add_argument("{argument}"' in parser


@pytest.mark.slow
def test_mlflow_run_trains_into_its_own_run(tmp_path: Path, mlflow_url: str, no_aws: None) -> None:
    draw_sample(tmp_path / "raw", persons=24)
    settings = {
        **{"source": tmp_path / "raw", "label_space": "mask", "model": "base", "epochs": 1},
        **{"image_height": 24, "image_width": 18, "floors": "{}", "model_name": "under_mlflow"},
    }
    parameters = " ".join(f"{name}={value}" for name, value in settings.items())
    subprocess.run(
        [
            *(Path(sys.executable).with_name("mlflow"), "run", ROOT, "--env-manager", "local"),
            *("--experiment-name", "projects", "-P", "user=kim", "-P", f"parameters={parameters}"),
        ],
        env=os.environ | {"MLFLOW_TRACKING_URI": mlflow_url, "FACET_HOME": str(tmp_path / "home")},
        check=True,
        timeout=600,
    )
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_url)
    experiment = client.get_experiment_by_name("projects")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.user"] == "kim" and run.data.tags["mlflow.project.entryPoint"] == "main"
    assert run.data.params["config.epochs"] == "1" and run.data.params["config.model"] == "base"
    assert {"Val/f1", "Test/macro_f1"} <= set(run.data.metrics)
    (version,) = client.search_model_versions("name='under_mlflow'")
    assert version.run_id == run.info.run_id
