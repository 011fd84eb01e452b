"""`facet compare`, and what `promote` and `rollback` say where nothing is registered."""

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import facet

from components.shared.tracking.runs import open_run
from components.shared.tracking.server import mlflow_client


def write_run(folder: Path, name: str, scores: dict[str, float], pipeline: dict[str, Any], **training: Any) -> Path:
    """What a local run leaves: config, outputs, what the training has resolved, and times."""
    run = folder / name
    checkpoints = run / "train-classifier" / "checkpoints"
    (checkpoints / "tensorboard").mkdir(parents=True)
    (run / "evaluate").mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"pipeline": "classification", "epochs": 3, **pipeline}))
    outputs = {"parameterValues": {"Output": True, "metrics_json": json.dumps(scores)}}
    (run / "evaluate" / "executor_output.json").write_text(json.dumps(outputs))
    config = {"model": "resnet18", "augmentation": {"name": "face"}, **training}
    (checkpoints / "config.json").write_text(json.dumps({"config": config, "dataset_digest": "d" * 64}))
    (checkpoints / "history.json").write_text("[]")
    (checkpoints / "tensorboard" / "events.out.tfevents.1000.here.1.0").write_bytes(b"")
    (run / "log.txt").write_text("")
    os.utime(run / "config.yaml", (900, 900))
    os.utime(checkpoints / "history.json", (1060, 1060))
    os.utime(run / "log.txt", (1100, 1100))
    return run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs with and without augmentation, and of more epochs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SM_MODEL_DIR", raising=False)
    folder = tmp_path / "home" / "runs"
    write_run(folder, "plain", {"macro_f1": 0.7, "log_loss": 0.9}, {}, epochs=3, augmentation={"name": "none"})
    write_run(folder, "augmented", {"macro_f1": 0.8, "log_loss": 1.25}, {}, epochs=3)
    write_run(folder, "longer", {"macro_f1": 0.8}, {"seed": 5}, epochs=9, seed=5)
    return folder


def test_runs_by_augmentation_and_epochs_in_one_table(runs: Path) -> None:
    shown = facet("compare", "plain", "augmented", runs / "longer")
    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines()[1:]}
    assert lines["augmentation.name"] == ["none", "face", "face"]
    assert lines["epochs"] == ["3", "3", "9"] and lines["seed"] == ["-", "-", "5"]
    assert lines["macro_f1"] == ["0.7000", "0.8000", "*", "0.8000", "*"]
    assert lines["log_loss"] == ["0.9000", "*", "1.2500", "-"]
    assert lines["training_seconds"] == ["60"] * 3 and lines["run_seconds"] == ["200"] * 3
    assert shown.stdout.splitlines()[-1] == "* the best; lower is better of log_loss"
    assert "dataset_digest" not in lines, "what is equal is not shown"
    table = list(csv.DictReader(io.StringIO(facet("compare", "plain", "longer", "--format", "csv").stdout)))
    assert [(row["run"], row["epochs"], row["macro_f1"], row["log_loss"]) for row in table] == [
        ("plain", "3", "0.7", "0.9"), ("longer", "9", "0.8", ""),
    ]  # fmt: skip
    content = json.loads(facet("compare", "plain", "longer", "--format", "json").stdout)
    assert [one["best"] for one in content] == [[], ["macro_f1"]]


def test_local_runs_and_mlflow_runs_in_one_table(runs: Path, mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    config = {"model": "resnet18", "epochs": 9, "augmentation": {"name": "face"}, "seed": 5}
    with open_run("compared", params={"config": config, "dataset_digest": "d" * 64}) as run:
        run.metrics({"Test/macro_f1": 0.9, "Val/f1": 1.0})
    shown = facet("compare", "longer", run.run_id, tracking_uri=mlflow_url)
    lines = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines()[1:]}
    assert lines["macro_f1"] == ["0.8000", "0.9000", "*"] and lines["epochs"] == ["9", "9"]
    assert set(lines) == {
        "model", "epochs", "augmentation.name", "macro_f1", "run_seconds", "training_seconds", "*",
    }, "settings of the pipeline are not compared with a run that has none"  # fmt: skip
    gone = facet("compare", "longer", "0" * 32, tracking_uri=mlflow_url)
    assert gone.returncode == 2 and "MLflow has no run '000" in gone.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["compare", "plian"],
            "'plian' is neither a run in .* nor a run folder with .*did you mean 'plain'",
        ),
        (["compare", "plain", "plain"], "a run is named twice: plain"),
        (["compare", "plain", "home/runs/plain"], "a run is named twice: plain"),
        (["promote", "faces"], "nothing is registered in .*: register a model .* or set FACET_HOME"),
        (["rollback", "faces"], "nothing is registered in .*: register a model .* or set FACET_HOME"),
    ],
)
def test_what_cannot_be_done_is_one_message(runs: Path, arguments: list[str], message: str) -> None:
    failed = facet(*arguments)
    assert failed.returncode == 2 and failed.stdout == ""
    assert re.search(message, failed.stderr), failed.stderr


def test_what_the_registry_has_not_is_named_with_what_it_has(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    client = mlflow_client()
    client.create_registered_model("named-here")
    for _ in range(2):
        client.create_model_version("named-here", "s3://mlflow/nothing")
    for arguments, message in [
        (["promote", "named-her", "1"], "no model 'named-her'; registered: .*named-here"),
        (["rollback", "named-her"], "no model 'named-her'; registered: .*named-here"),
        (["promote", "named-here", "99"], "no version '99' of model 'named-here'; its versions: 1, 2"),
        (["promote", "named-here", "abc"], "'abc' is no version of model 'named-here': expected a number"),
    ]:
        failed = facet(*arguments, tracking_uri=mlflow_url)
        assert failed.returncode == 2 and re.search(message, failed.stderr), failed.stderr


def test_a_server_that_does_not_answer_has_moved_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "1")
    failed = facet("promote", "faces", "1", tracking_uri="http://127.0.0.1:9")
    assert failed.returncode == 1 and "nothing has moved: MLflow at http://127.0.0.1:9" in failed.stderr


def test_a_damaged_run_is_named(runs: Path) -> None:
    (runs / "plain" / "config.yaml").write_text("pipeline: nothing\n")
    assert "config.yaml: unknown pipeline 'nothing'" in facet("compare", "plain").stderr
    (runs / "plain" / "config.yaml").write_text("[1")
    assert "config.yaml: cannot be read" in facet("compare", "plain").stderr
