"""What a training tells MLflow and TensorBoard, and that it needs neither."""

import getpass
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from loopback_server import answering
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_samples import config

from components.search.leaderboard import leaderboard
from components.shared.dataset.annotations import read_annotations, write_annotations
from components.shared.trial import Outcome, Trial
from components.train_classifier import record
from components.train_classifier.config.training import resolve_config
from components.train_classifier.train import TrainResult, train
from components.train_classifier.trial import run_training
from serving.runtime.errors import NotFoundError, StorageError

TRAIN = {"Train/loss", "Train/accuracy", "Train/learning_rate"}
VAL = {"Val/loss", "Val/accuracy", "Val/f1"}


@pytest.fixture
def tracking(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "1")
    return mlflow_url


def go(dataset: Path, output: Path, experiment: str = "", **entries: Any) -> TrainResult:
    return train(config(**entries), dataset / "images", dataset / "annotations.json", output, experiment=experiment)


def steps(client: MlflowClient, run_id: str, name: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, name)]


def test_a_run_has_everything(tracking: str, dataset: Path, tmp_path: Path) -> None:
    rates = {"learning_rate": 0.05, "scheduler": "constant", "ema_decay": 0.5, "augmentation": "none", "seed": 10}
    result = go(dataset, tmp_path / "out", user="someone", epochs=3, label_space="gender", **rates)
    client = MlflowClient()
    run = client.get_run(result.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "facet-gender"
    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() == TRAIN | VAL
    assert {name: steps(client, result.run_id, name) for name in TRAIN | VAL} == {
        **{name: [2, 4, 6, 8, 10, 12] for name in TRAIN},
        **{name: [1, 2, 3] for name in VAL},
    }
    facts = json.loads((tmp_path / "out" / "config.json").read_text())
    assert facts["environment"].keys() >= {"python", "platform", "device", "threads"}
    wanted = {"dataset_digest": facts["dataset_digest"], "config.batch_size": "8", "config.scheduler.name": "constant"}
    wanted["environment.device"] = "cpu"
    assert wanted.items() <= run.data.params.items()
    assert run.data.tags["mlflow.user"] == "someone"
    if "git_revision" in facts["environment"]:
        assert run.data.tags["mlflow.source.git.commit"] == facts["environment"]["git_revision"]
    assert {"mlflow.source.name": "facet", "mlflow.source.type": "LOCAL"}.items() <= run.data.tags.items()
    (read,) = run.inputs.dataset_inputs
    assert read.dataset.digest == facts["dataset_digest"][:36]
    assert json.loads(read.dataset.profile)["train_faces"] == facts["train_faces"]
    local = {name: (tmp_path / "out" / f"{name}.pt").read_bytes() for name in record.BEST}
    assert local["best_f1"] != local["best_acc"]
    for name, content in local.items():
        sent = client.download_artifacts(result.run_id, f"{name}/{name}.pt", str(tmp_path))
        assert Path(sent).read_bytes() == content
    sizes = {
        file.path: file.file_size
        for folder in ("best", "best_f1", "best_acc", None)
        for file in client.list_artifacts(result.run_id, folder)
        if not file.is_dir
    }
    assert sizes == {
        **{f"{name}/{name}.pt": (tmp_path / "out" / f"{name}.pt").stat().st_size for name in record.BEST},
        **{
            name: (tmp_path / "out" / name).stat().st_size
            for name in ("predictions.png", "confusion_matrix.png", "classes.txt", "config.json", "history.json")
        },
    }


def test_a_given_run_is_used_and_left_open(
    tracking: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    given = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    assert go(dataset, tmp_path / "out", "not made").run_id == given
    assert client.get_run(given).info.status == "RUNNING"
    assert steps(client, given, "Val/f1") == [1, 2]
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    with pytest.raises(NotFoundError, match="MLflow has no run"):
        go(dataset, tmp_path / "other")


def test_a_continued_training_keeps_its_run(
    tracking: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = record.Recorder.epoch
    for number in (1, 2):

        def epoch(self: record.Recorder, validation: Any, last: int = number) -> None:
            original(self, validation)
            if len(self.training.history) == last:
                raise RuntimeError(self.run.run_id)

        monkeypatch.setattr(record.Recorder, "epoch", epoch)
        with pytest.raises(RuntimeError) as raised:
            go(dataset, tmp_path / "out", epochs=4)
    monkeypatch.setattr(record.Recorder, "epoch", original)
    result = go(dataset, tmp_path / "out", epochs=4)
    assert result.run_id == str(raised.value)
    client = MlflowClient()
    assert steps(client, result.run_id, "Val/loss") == [1, 2, 3, 4]
    assert client.get_run(result.run_id).info.status == "FINISHED"
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("Train/loss")] == [2, 3, 4, 6, 8, 9, 10, 12]
    assert {event.step for event in events.Images("Val/predictions")} <= {1, 2, 3, 4}


@pytest.fixture
def broken(tracking: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["Proxy"]:
    with Proxy(tracking) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        yield proxy


class Proxy:
    """Passes connections on to a server until it is cut."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.cut()

    def cut(self) -> None:
        self._listener.close()
        for connection in self._sockets:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        entry.getMessage()
        for entry in caplog.records
        if entry.levelno >= logging.WARNING and "MLFLOW_TRACKING_URI" in entry.getMessage()
    ]


def test_a_server_that_is_down_stops_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "1")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    assert go(dataset, tmp_path / "out").run_id == ""
    assert len(warnings(caplog)) == 1 and "did not answer within 1 s" in warnings(caplog)[0]
    assert (tmp_path / "out" / "tensorboard").is_dir()


def test_a_server_that_dies_stops_nothing(
    broken: Proxy, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = record.Recorder.epoch

    def epoch(self: record.Recorder, history: Any, *rest: Any) -> None:
        original(self, history, *rest)
        broken.cut()

    monkeypatch.setattr(record.Recorder, "epoch", epoch)
    result = go(dataset, tmp_path / "out", epochs=3)
    assert result.run_id and len(json.loads((tmp_path / "out" / "history.json").read_text())) == 3
    assert len(warnings(caplog)) == 1 and "The step continues without it" in warnings(caplog)[0]


def test_a_refused_password_ends_a_training_before_it_begins(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.train_classifier.train.set_up", lambda *_: pytest.fail("it began"))
    with answering(401) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
        with pytest.raises(StorageError, match="refuses the credentials"):
            go(dataset, tmp_path / "out")


def test_trials_are_runs_below_that_of_their_search(
    tracking: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with curves of its own, also where MLFLOW_RUN_ID names a run."""
    client = MlflowClient()
    given = client.create_run("0").info.run_id
    outcomes: list[Outcome] = []
    resolve = partial(resolve_config, config().model_dump())
    for number, surrounding in enumerate(("", given)):
        monkeypatch.setenv("MLFLOW_RUN_ID", surrounding)
        trial = Trial(number=number, changes={"learning_rate": 0.01 * (number + 1)})
        paths = dataset / "images", dataset / "annotations.json", tmp_path / f"out{number}"
        _, outcome = run_training(resolve, trial, *paths)
        assert outcome is not None
        outcomes.append(outcome)
    assert client.get_run(given).data.metrics == {}
    assert client.get_run(outcomes[1].run_id).data.tags["mlflow.parentRunId"] == given
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    space = {"learning_rate": [0.01, 0.02]}
    found = leaderboard(space, outcomes, tmp_path / "page", label_space="mask", method="grid", seed=0)
    search = client.get_run(found.run_id)
    assert client.get_experiment(search.info.experiment_id).name == "facet-mask"
    assert (search.info.run_name, search.info.status) == ("search grid", "FINISHED")
    assert search.data.metrics == {"Val/f1": found.best_score, "trials": 2.0, "failed_trials": 0.0}
    assert search.data.params["best.trial"] == str(found.trials[0].number)
    assert search.data.params["space.learning_rate.choice"] == "[0.01, 0.02]"
    for number, outcome in enumerate(outcomes):
        run = client.get_run(outcome.run_id)
        assert (run.info.run_name, run.data.tags["mlflow.parentRunId"]) == (f"trial {number}", found.run_id)
        assert run.data.metrics["Val/f1"] >= 0
    page = client.download_artifacts(found.run_id, "leaderboard.html", str(tmp_path))
    assert Path(page).read_bytes() == (tmp_path / "page").read_bytes()


def test_a_run_says_where_its_data_come_from(tracking: str, dataset: Path, tmp_path: Path) -> None:
    """On its page: Datasets, Source, Created by, a description, and what was done to the data as parameters."""
    content = read_annotations(dataset / "annotations.json")
    info = {
        "source": "s3://raw/faces/2026",
        "source_digest": "5" * 64,
        "format": "manifest",
        "curation": [{"operation": "drop_ages", "options": {"ranges": [[0, 5]]}}, {"operation": "sample"}],
        "split": {"mode": "person", "seed": 3, "images": {"train": 25, "val": 9}},
    }
    write_annotations(replace(content, info=content.info.changed(**info)), tmp_path / "annotations.json")
    result = train(config(epochs=1), dataset / "images", tmp_path / "annotations.json", tmp_path / "out")
    run = MlflowClient().get_run(result.run_id)
    assert {
        "data.source": "s3://raw/faces/2026",
        "data.source_digest": "5" * 64,
        "data.format": "manifest",
        "data.curation": '[{"drop_ages": {"ranges": [[0, 5]]}}, {"sample": {}}]',
        "data.split.mode": "person",
        "data.split.seed": "3",
        "data.split.images.train": "25",
    }.items() <= run.data.params.items()
    (read,) = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.source_type) == ("2026", "s3")
    assert json.loads(read.dataset.source) == {"uri": "s3://raw/faces/2026"}
    assert [(tag.key, tag.value) for tag in read.tags] == [("mlflow.data.context", "training")]
    assert run.data.tags["mlflow.user"] == getpass.getuser()
    note = run.data.tags["mlflow.note.content"]
    assert "s3://raw/faces/2026 (manifest)" in note
    assert "Curation: drop_ages, sample. Split: person" in note


def test_a_run_of_somebody_else_keeps_its_source(
    tracking: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    tags = {"mlflow.source.name": "https://example.org/project", "mlflow.source.type": "PROJECT", "mlflow.user": "kim"}
    given = client.create_run("0", tags=tags).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    go(dataset, tmp_path / "out", epochs=1)
    assert tags.items() <= client.get_run(given).data.tags.items()
