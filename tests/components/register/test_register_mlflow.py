"""Everything that talks to MLflow, against one real server: runs, the evaluation's log, the registry."""

import hashlib
import math
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from green_faces import green_photo, write_detector, write_photos
from kfp import dsl
from register_models import DIGEST, Killed, kill_after, write_model, write_predicted
from relay import relay

from components.evaluate.evaluate import evaluate
from components.predict.predict import predict
from components.register import versions as versions_module
from components.register.component import register as register_door
from components.register.package import package
from components.register.register import read_metrics, register
from components.shared.dataset.annotations import Face
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from components.shared.tracking import server
from components.shared.tracking.runs import open_run, resume_run
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.load import load_model
from serving.runtime.reference import BRIGHTNESS, FACE_SIDE, Histogram
from serving.runtime.storage import make_bucket


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_starting_server_is_waited_for(tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    target = int(tracking.rpartition(":")[2])
    threading.Timer(1.0, lambda: threading.Thread(target=relay, args=(port, target), daemon=True).start()).start()
    began = time.monotonic()
    with open_run("waited") as run:
        assert time.monotonic() - began >= 1.0
    assert server.mlflow_client().get_run(run.run_id).info.status == "FINISHED"


def test_a_run_keeps_everything(tracking: str, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file.txt").write_text("text")
    params = {f"name{i}": i for i in range(230)} | {
        "nested": {"deep": {"list": [1, 2]}},
        "long": "x" * 9000,
        "no": None,
    }
    with open_run("first", run_name="named", params=params, tags={"kind": "test"}) as run:
        run.metrics({f"m{i}": np.float32(i) for i in range(1100)})
        for step in range(1, 3):
            run.metrics({"m7": 7 + step}, step)
        run.artifact(tmp_path / "some" / "file.txt", "files")
        run.artifact(tmp_path / "some")
    client = server.mlflow_client()
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED" and found.info.run_name == "named" and found.data.tags["kind"] == "test"
    assert len(found.data.params) == 233 and found.data.params["nested.deep.list"] == "[1, 2]"
    assert len(found.data.params["long"]) == 6000
    assert found.data.metrics["m1099"] == 1099
    assert [m.value for m in client.get_metric_history(run.run_id, "m7")] == [7, 8, 9]
    assert {item.path for item in client.list_artifacts(run.run_id)} == {"files", "file.txt"}


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_ends_early_says_so(tracking: str, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), open_run("first") as run:
        raise error
    assert server.mlflow_client().get_run(run.run_id).info.status == status


def test_an_external_run_is_used_and_left_open(tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = server.mlflow_client()
    outer = client.create_run("0")
    client.log_param(outer.info.run_id, "epochs", "3")
    monkeypatch.setenv("MLFLOW_RUN_ID", outer.info.run_id)
    with open_run("not made", params={"epochs": 5, "more": 1}) as run:
        run.metrics({"x": 1.0})
    found = client.get_run(outer.info.run_id)
    assert run.run_id == outer.info.run_id and found.info.status == "RUNNING"
    assert found.data.params == {"epochs": "3", "more": "1"} and found.data.metrics == {"x": 1.0}
    assert client.get_experiment_by_name("not made") is None


def test_a_run_that_does_not_exist(tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="no run 'abc'"):
        resume_run("abc")
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    with pytest.raises(NotFoundError, match="no run 'abc'"), open_run("first"):
        raise AssertionError("the body must not start")


def test_without_a_server_nothing_happens_and_mlflow_is_not_imported(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from components.shared.tracking.runs import open_run, resume_run
with open_run("e", params={"a": 1}, tags={"b": 2}) as run:
    run.metrics({"x": 1.0}); run.params({"y": 1}); run.tags({"t": 1}); run.artifact(Path("missing"))
assert run.run_id == "" and resume_run("some id").run_id == ""
assert "mlflow" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_evaluation_goes_to_the_training_run(tracking: str, tmp_path: Path) -> None:
    predictions, annotations = write_predicted(tmp_path)
    with open_run("first") as run:
        pass
    result = evaluate(predictions, annotations, tmp_path / "report", run_id=run.run_id)
    client = server.mlflow_client()
    assert client.get_run(run.run_id).data.metrics == {f"Test/{k}": v for k, v in result.metrics.items()}
    page = client.download_artifacts(run.run_id, "evaluation/report.html", str(tmp_path))
    assert Path(page).read_bytes() == (tmp_path / "report").read_bytes()


def test_a_registered_model_is_the_exported_file(tracking: str, tmp_path: Path) -> None:
    import mlflow

    model = write_model(tmp_path / "model")
    with open_run("first", params={"epochs": 3}) as run:
        pass
    done = register(model, name="tiny", metrics={"macro_f1": 0.875}, run_id=run.run_id)
    assert done.sha256 == sha256(model / "model.onnx") and done.run_id == run.run_id
    client = server.mlflow_client()
    version = client.get_model_version_by_alias("tiny", "candidate")
    assert (str(version.version), version.run_id) == (done.version, run.run_id)
    facts = {"sha256": done.sha256, "dataset_digest": DIGEST, "label_space": "mask", "metrics.macro_f1": "0.875"}
    assert facts.items() <= version.tags.items()
    downloaded = mlflow.artifacts.download_artifacts(
        artifact_uri="models:/tiny@candidate", dst_path=str(tmp_path / "d")
    )
    assert sha256(Path(downloaded, "model.onnx")) == done.sha256
    # MLflow's own writer would have changed the bytes: the comparison above can fail.
    assert onnx.load(model / "model.onnx").SerializeToString() != (model / "model.onnx").read_bytes()

    served = load_model("models:/tiny@candidate")
    assert (served.sha256, served.version) == (done.sha256, done.version)
    loaded = mlflow.pyfunc.load_model("models:/tiny@candidate")
    pixels = np.random.default_rng(0).integers(0, 255, (5, 16, 12, 3), dtype=np.uint8)
    assert loaded.predict(pixels)["mask"].shape == (5, 3)
    with pytest.raises(Exception, match="schema"):
        loaded.predict(pixels.astype(np.float32))
    assert mlflow.onnx.load_model("models:/tiny@candidate").graph.name == "tiny"
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert logged.params == {"epochs": "3"} and logged.status == "READY"
    assert [(m.key, m.value) for m in logged.metrics] == [("macro_f1", 0.875)]


def test_what_a_model_saw_on_its_test_split_goes_with_its_version(tracking: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    space = label_space("mask")
    faces = [
        PredictedFace(1, 1, "a.jpg", (0.0, 0.0, 30.0, 30.0), brightness=40.0),
        PredictedFace(2, 2, "b.jpg", None, brightness=200.0),
    ]
    values = np.array([[0.9, 0.05, 0.05], [0.1, 0.2, 0.7]], np.float32)
    write_predictions(Predictions(tuple(faces), {"mask": values}, space, "tiny", "v"), tmp_path / "p.csv")
    register(model, name="compared", predictions=tmp_path / "p.csv")
    reference = load_model("models:/compared@candidate").reference  # type: ignore[attr-defined]
    assert reference.brightness == Histogram.of([40.0, 200.0], BRIGHTNESS)
    assert reference.face_side == Histogram.of([30.0], FACE_SIDE)
    assert reference.heads["mask"].labels == {"worn": 1, "incorrect": 0, "absent": 1}
    other, _ = write_predicted(tmp_path)
    with pytest.raises(InputError, match=r"p.csv: predictions of label space 'gender', which is not the model's"):
        register(model, name="compared", predictions=other)


def test_a_detector_goes_from_its_predictions_to_the_champion(tracking: str, tmp_path: Path) -> None:
    model = write_detector(tmp_path / "model", labels=("cap", "none"), label_space="hat:cap,none")
    face = Face(1, (10.0, 10.0, 40.0, 50.0), {"hat": "cap"})
    write_photos(tmp_path, {"a.png": green_photo([(10, 10, 40, 50)])}, {"a.png": [face]})
    predict(model, tmp_path / "images", tmp_path / "a.json", tmp_path / "p.csv")
    with open_run("first") as run:
        pass
    result = evaluate(tmp_path / "p.csv", tmp_path / "a.json", tmp_path / "report", run_id=run.run_id)
    client = server.mlflow_client()
    assert client.get_run(run.run_id).data.metrics == {f"Test/{k}": v for k, v in result.metrics.items()}
    assert result.metrics["ap50_cap"] == pytest.approx(1) and all(map(math.isfinite, result.metrics.values()))
    register(model, name="finder", metrics=result.metrics, predictions=tmp_path / "p.csv", run_id=run.run_id)
    version = client.get_model_version_by_alias("finder", "candidate")
    facts = {"label_space": "hat:cap,none", "metrics.map50": str(result.metrics["map50"])}
    assert facts.items() <= version.tags.items()
    served = load_model("models:/finder@candidate")
    assert isinstance(served, Detector) and served.sha256 == sha256(model / "model.onnx")
    (tmp_path / "faces").mkdir()
    other, _ = write_predicted(tmp_path / "faces")
    with pytest.raises(InputError, match="predictions of label space 'gender', which is not the model's"):
        register(model, name="finder", predictions=other)
    with pytest.raises(InputError, match="p.csv: predictions of a detector of cap, none, not of the model"):
        register(write_model(tmp_path / "classifier"), name="tiny", predictions=tmp_path / "p.csv")


def test_every_model_is_a_version(tracking: str, tmp_path: Path) -> None:
    first, second = (register(write_model(tmp_path / f"{seed}", seed), name="twice").version for seed in range(2))
    assert first != second
    client = server.mlflow_client()
    assert client.get_registered_model("twice").aliases == {"candidate": second}
    assert client.get_run(client.get_model_version("twice", first).run_id).info.status == "FINISHED"


@pytest.mark.parametrize("name", ["once", "kim's"])
def test_a_file_is_one_version_of_its_run(tracking: str, tmp_path: Path, name: str) -> None:
    model, other = write_model(tmp_path / "model"), write_model(tmp_path / "other", seed=1)
    runs = []
    for _ in range(2):
        with open_run("first") as run:
            runs.append(run.run_id)
    first = [register(model, name=name, run_id=runs[0]) for _ in range(2)]
    without = [register(model, name=name) for _ in range(2)]
    second = register(model, name=name, run_id=runs[1])
    newest = register(other, name=name, run_id=runs[0])
    assert first[0] == first[1] and without[0] == without[1]
    assert [one.version for one in (first[0], without[0], second, newest)] == ["1", "2", "3", "4"]
    client = server.mlflow_client()
    assert register(model, name=name, run_id=runs[0]).version == "1"
    assert client.get_registered_model(name).aliases == {"candidate": "4"}, (
        "a late attempt takes nothing from a newer one"
    )


def test_a_registration_that_is_killed_between_two_calls_is_completed_by_the_next(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model")
    with open_run("first") as run:
        pass
    completed, attempts = False, 0
    while not completed:
        attempts += 1
        name = f"killed-{attempts}"
        with monkeypatch.context() as patch:
            kill_after(patch, attempts)
            try:
                register(model, name=name, run_id=run.run_id)
                completed = True
            except Killed:
                pass
        done = register(model, name=name, run_id=run.run_id)
        client = server.mlflow_client()
        (version,) = client.search_model_versions(f"name='{name}'")
        assert (version.version, version.run_id, done.version) == ("1", run.run_id, "1")
        assert client.get_registered_model(name).aliases == {"candidate": "1"}
    assert attempts > 10


def test_of_two_attempts_at_once_one_version_stays(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster may start a step anew while a node that it has lost still works on it."""
    model = write_model(tmp_path / "model")
    with open_run("first") as run:
        pass
    answers: list[list[Any]] = [[]]
    search = versions_module._versions
    monkeypatch.setattr(
        versions_module, "_versions", lambda *arguments: answers.pop() if answers else search(*arguments)
    )
    register(model, name="at-once", run_id=run.run_id)
    answers.append([])
    assert register(model, name="at-once", run_id=run.run_id).version == "1"
    assert [one.version for one in server.mlflow_client().search_model_versions("name='at-once'")] == ["1"]


def test_artifacts_in_s3(tracking: str, s3: Any, tmp_path: Path) -> None:
    make_bucket("mlflow")
    client = server.mlflow_client()
    client.create_experiment("in s3", artifact_location="s3://mlflow/here")
    with open_run("in s3") as run:
        run.artifact(Path(__file__), "source")
    done = register(write_model(tmp_path / "model"), name="in-s3", run_id=run.run_id)
    files = {path.name: path for path in (s3.folder / "mlflow" / "here").rglob("*") if path.is_file()}
    assert Path(__file__).name in files and sha256(files["model.onnx"]) == done.sha256
    assert load_model(f"models:/in-s3/{done.version}").sha256 == done.sha256


def test_a_store_that_changes_the_file_is_detected(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model")
    good = register(model, name="damaged").version

    def package_other_bytes(content: bytes, card: Any, reference: Any, folder: Path, *rest: Any) -> None:
        package(content, card, reference, folder, *rest)
        (folder / "model.onnx").write_bytes(content + b"!")

    monkeypatch.setattr("components.register.package.package", package_other_bytes)
    with pytest.raises(StorageError, match=r"has sha256 .*the version was removed"):
        register(write_model(tmp_path / "other", seed=1), name="damaged")
    client = server.mlflow_client()
    assert [v.version for v in client.search_model_versions("name='damaged'")] == [good]
    assert client.get_registered_model("damaged").aliases == {"candidate": good}


def test_the_component(tracking: str, tmp_path: Path) -> None:
    artifact = dsl.Model(uri=str(write_model(tmp_path / "model")))
    (version, composite_version) = register_door.python_func(
        model=artifact, name="door", metrics_json='{"accuracy": 1}', run_id=""
    )
    assert composite_version == ""
    assert server.mlflow_client().get_registered_model("door").aliases == {"candidate": version}


def test_what_cannot_be_registered(tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "model")
    with pytest.raises(NotFoundError, match="no run 'abc'"):
        register(model, name="x", run_id="abc")
    with pytest.raises(StorageError, match="empty: there is no such file or folder"):
        register(tmp_path / "empty", name="x")
    for name in ("", "a/b", "a@b", "a:b"):
        with pytest.raises(InputError, match="cannot name a model"):
            register(model, name=name)
    (tmp_path / "model" / "model.onnx").write_bytes(b"not onnx")
    with pytest.raises(InputError, match=r"/model: not an ONNX model"):
        register(model, name="x")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(InputError, match="set MLFLOW_TRACKING_URI"):
        register(model, name="x")


@pytest.mark.parametrize("text", ["", "[1]", '{"a": "b"}', '{"a": NaN}', '{"a": true}', '{"a": {"b": 1}}'])
def test_invalid_metrics(text: str) -> None:
    with pytest.raises(InputError, match="metrics_json"):
        read_metrics(text)


def test_metrics_of_evaluate() -> None:
    assert read_metrics('{"macro_f1": 0.5, "faces": 3}') == {"macro_f1": 0.5, "faces": 3.0}
