"""Servers that die or refuse after the work is done: nothing is lost, and the registration can be done later."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from register_models import write_model, write_predicted
from relay import relayed

from components.evaluate.evaluate import evaluate
from components.register.component import register as register_door
from components.register.register import register
from components.shared.tracking.runs import open_run
from components.shared.tracking.server import mlflow_client
from serving.runtime.errors import NoAnswerError, StorageError


def facet(command: str, **environment: str) -> str:
    """What a command of ours prints, as the message gives it."""
    program, *arguments = shlex.split(command)
    assert program == "facet"
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.command.main", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_whose_server_has_died_is_registered_later(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "2")
    predictions, annotations = write_predicted(tmp_path)
    model = write_model(tmp_path / "a folder" / "model")
    with relayed(tracking) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with open_run("first") as run:
            pass
    began = time.monotonic()
    result = evaluate(predictions, annotations, tmp_path / "report", run_id=run.run_id)
    assert result.metrics["accuracy"] == 0.75 and (tmp_path / "report").stat().st_size
    with pytest.raises(NoAnswerError, match=f"MLflow at {url} did not answer within 2 s") as caught:
        register_door.python_func(
            model=dsl.Model(uri=str(model)), name="late", metrics_json='{"accuracy": 0.75}', run_id=run.run_id
        )
    assert time.monotonic() - began < 10
    assert [record.message for record in caplog.records if "waiting" in record.message] == [
        f"MLflow at {url} does not answer, waiting up to 2 s"
    ] * 2
    *_, kept, command = str(caught.value).splitlines()
    assert kept == f"The model is kept in {model}. Register it later with:"
    printed = facet(command, MLFLOW_TRACKING_URI=tracking, FACET_HOME=str(tmp_path / "home"))
    assert printed == "version: 1\ncomposite_version: \n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    version = mlflow_client().get_model_version_by_alias("late", "candidate")
    assert (version.run_id, version.tags["metrics.accuracy"]) == (run.run_id, "0.75")


def test_a_model_on_a_cluster_is_named_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "0.2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    model, address = write_model(tmp_path / "model"), "s3://pipelines/run/export/model"
    with pytest.raises(NoAnswerError) as caught:
        register(model, name="late", address=address)
    *_, kept, command = str(caught.value).splitlines()
    assert kept == f"The model is kept in {address}. Register it later with, from a copy of it in a FOLDER of yours:"
    assert command == "facet step register --model FOLDER --name late --metrics-json '{}' --run-id ''"


def test_a_store_that_may_only_be_read_loses_nothing(
    tracking: str,
    no_aws: None,
    start_s3: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    predictions, annotations = write_predicted(tmp_path)
    model = write_model(tmp_path / "model")
    with start_s3(tmp_path / "s3", "--read-only") as s3:
        (s3.folder / "mlflow").mkdir()
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.environment["AWS_ENDPOINT_URL"])
        client = mlflow_client()
        client.create_experiment("read only", artifact_location="s3://mlflow/here")
        with open_run("read only", tolerant=True) as run:
            run.artifact(model)
            run.artifact(predictions)
            run.metrics({"Val/loss": 1.0})
        result = evaluate(predictions, annotations, tmp_path / "report", run_id=run.run_id)
        with pytest.raises(StorageError, match="cannot be stored with MLflow at .*\nThe model is kept in"):
            register(model, name="read-only", run_id=run.run_id)
    assert (tmp_path / "report").stat().st_size
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"Val/loss": 1.0} | {f"Test/{name}": value for name, value in result.metrics.items()}
    messages = [record.message for record in caplog.records if "cannot be stored" in record.message]
    assert len(messages) == 2, "one of the training and one of the evaluation"
    assert all("They are among the outputs of the step" in message for message in messages)
