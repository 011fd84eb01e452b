"""The classification pipeline on this machine, end to end: real KFP runner, real S3, real MLflow."""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from clean_environment import clean_environment
from loopback_server import answering
from running_processes import processes_with
from small_sample import SMALL_TRAINING, put_small_sample

from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.predictions import read_predictions
from pipelines.catalog import (
    CALIBRATION_REPORT,
    DATA_REPORT,
    PROMOTION_REPORT,
    QUANTIZE_REPORT,
    QUANTIZED_PROMOTION_REPORT,
    QUANTIZED_REPORT,
    REPORT,
)
from pipelines.classification import ClassificationConfig
from pipelines.command.config import resolve
from pipelines.environment.settings import Settings
from pipelines.local import summary
from pipelines.local.run import Run, run
from pipelines.local.run_folder import LOG, outputs
from pipelines.local.stack import local_stack, running, serve, take_down
from pipelines.parameters.pipeline import DRAWN_FACES
from pipelines.samples.profiles import draw_sample
from serving.runtime.errors import InputError
from serving.runtime.load import load_model
from serving.runtime.storage import Location

TINY = ClassificationConfig(**SMALL_TRAINING, val_ratio=0.25, test_ratio=0.25, floors={"accuracy": 0.0})
TASKS = [
    *("ingest", "curate", "split", "train-classifier", "export-onnx", "predict", "calibrate", "predict-2", "evaluate"),
    *("register", "promote"),
]
REPORTED = {"config.yaml", REPORT, DATA_REPORT, CALIBRATION_REPORT, PROMOTION_REPORT, LOG}
PLANTED = {
    name: f"planted-{secrets.token_hex(12)}"
    for name in ("AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABASE_PASSWORD", "KFP_TOKEN", "KFP_COOKIES")
}
"""Secrets in the environment that no run may write to a file."""


@pytest.mark.parametrize("job", [{"nodes": 2}, {}])
def test_a_train_job_is_rejected_before_anything_starts(tmp_path: Path, job: dict[str, int]) -> None:
    config = TINY.model_copy(update={"training": {"train_job": job}})
    with pytest.raises(InputError, match="train_job trains on the nodes of a cluster"):
        run(config, Settings.from_environment({"FACET_HOME": str(tmp_path / "home")}))
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("facet") / ".facet"
    with patch.dict(os.environ, clean_environment() | PLANTED, clear=True):
        yield home
        assert running(home) == {"mlflow": None, "s3": None}


def run_tiny(home: Path, config: ClassificationConfig, lines: list[str]) -> Run:
    settings = Settings.from_environment({"FACET_HOME": str(home)})
    lines += put_small_sample(home, config.source)
    return run(config, settings, name="tiny.v1", echo=lines.append)


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(home: Path, said: list[str]) -> Run:
    before = dict(os.environ)
    result = run_tiny(home, TINY, said)
    assert dict(os.environ) == before
    return result


@pytest.fixture(scope="module")
def stack(home: Path, result: Run) -> Iterator[dict[str, str]]:
    """The environment of the stack, started again after the run: its data have survived."""
    with local_stack(home) as stack:
        os.environ.update(stack.environment)
        yield stack.environment


def mlflow(path: str) -> Any:
    """MLflow's answer; the server takes a while to start."""
    deadline = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/{path}") as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_every_step_ran(result: Run, home: Path, said: list[str]) -> None:
    assert (result.failed, result.error) == ("", "")
    assert [name for name in result.seconds if name != "data-report"] == TASKS
    assert result.folder == home / "runs" / "tiny.v1"
    assert {path.name for path in result.folder.iterdir()} == {*TASKS, "data-report"} | REPORTED
    assert resolve(str(result.folder / "config.yaml"), (), {}) == TINY
    assert "drew    168 pictures of 24 persons to s3://raw/drawn_faces" in said


def test_the_shown_log_is_readable_and_the_file_complete(result: Run, said: list[str]) -> None:
    text = "\n".join(said)
    assert len(said) < 80
    assert "KFP Executor" not in text
    assert "\x1b" not in text
    assert f"{DRAWN_FACES}: 168 images" in text
    assert "KFP Executor" in (result.folder / LOG).read_text()
    assert str(result.folder) not in text.split(str(result.folder), 1)[1], "paths are short after the first line"


def test_the_summary_names_the_next_command(result: Run) -> None:
    lines = list(summary.success(result, TINY))
    assert lines[0].startswith("  accuracy ") and lines[0].endswith("   floor 0.000")
    assert "artifacts      s3://pipelines/tiny.v1" in lines
    at = lines.index("model          faces, version 1 (candidate and champion)")
    assert lines[at + 1].strip() == "Promoted: 'faces' had no champion yet."
    assert any(line.startswith("MLflow run     http://127.0.0.1:") for line in lines)
    assert "next: make serve" in lines


def test_artifacts_in_s3_have_the_layout_of_the_launcher(result: Run, stack: dict[str, str]) -> None:
    uploaded = {entry.path for entry in Location("s3://pipelines/tiny.v1").list()}
    assert uploaded >= {
        "config.yaml",
        "ingest/annotations",
        "ingest/images/images-00000.zip",
        "split/split_annotations",
        "train-classifier/checkpoints/best.pt",
        "train-classifier/checkpoints/last.pt",
        "export-onnx/model/model.onnx",
        "calibrate/calibrated/model.onnx",
        "predict-2/predictions",
        "evaluate/report",
        "evaluate/details/metrics.json",
        "promote/report",
    }
    for path in uploaded:
        assert Location(f"s3://pipelines/tiny.v1/{path}").read() == (result.folder / path).read_bytes()
    assert not any("executor_output" in path or "log" in Path(path).name for path in uploaded)


def test_the_registered_model_is_the_calibrated_one(result: Run, stack: dict[str, str]) -> None:
    version = mlflow("registered-models/alias?name=faces&alias=champion")["model_version"]
    assert (version["version"], sorted(version["aliases"])) == ("1", ["candidate", "champion"])
    calibrated = (result.folder / "calibrate/calibrated/model.onnx").read_bytes()
    served = load_model("models:/faces@champion")
    assert served.sha256 == hashlib.sha256(calibrated).hexdigest()
    batch = np.zeros((2, 32, 24, 3), np.uint8)
    assert served.infer(batch)["mask_gender_age"].shape == (2, 18)


def test_a_step_registers_in_the_local_stack(home: Path, result: Run, stack: dict[str, str]) -> None:
    """The command that a run names when it could not register; here it finds the version that there is."""
    metrics = json.loads(outputs(result.folder, "evaluate")["metrics_json"])
    run_id = str(outputs(result.folder, "train-classifier")["run_id"])
    options = {"--model": str(result.folder / "calibrate" / "calibrated"), "--name": "faces", "--run-id": run_id}
    options["--metrics-json"] = json.dumps(metrics)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pipelines.command.main",
            "step",
            "register",
            *(text for pair in options.items() for text in pair),
        ],
        env=kept | {"FACET_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "version: 1\ncomposite_version: \n"), done.stderr


def test_the_mlflow_run_has_the_metrics_of_the_evaluation(result: Run, stack: dict[str, str]) -> None:
    run_id = result.mlflow_run.rpartition("/")[2]
    found = mlflow(f"runs/get?run_id={run_id}")["run"]
    assert found["info"]["status"] == "FINISHED"
    assert found["info"]["artifact_uri"].startswith("s3://mlflow/")
    outputs = json.loads((result.folder / "evaluate/executor_output.json").read_text())
    metrics = json.loads(outputs["parameterValues"]["metrics_json"])
    logged = {metric["key"]: metric["value"] for metric in found["data"]["metrics"]}
    assert logged["Test/macro_f1"] == pytest.approx(metrics["macro_f1"])
    params = {param["key"]: param["value"] for param in found["data"]["params"]}
    expected = {"data.source": DRAWN_FACES, "data.split.mode": "person", "floors.accuracy": "0.0"}
    assert expected.items() <= params.items()
    assert [read["dataset"]["name"] for read in found["inputs"]["dataset_inputs"]] == ["drawn_faces"]
    tags = {tag["key"]: tag["value"] for tag in found["data"]["tags"]}
    assert {"facet.run": "tiny.v1", "facet.artifacts": "s3://pipelines/tiny.v1"}.items() <= tags.items()
    sent = Location(f"{found['info']['artifact_uri']}/config.yaml").read()
    assert sent == (result.folder / "config.yaml").read_bytes()


def test_the_endpoint_returns_the_evaluated_predictions(home: Path, result: Run, stack: dict[str, str]) -> None:
    """`facet serve` finds the champion in the running stack and leaves the stack up."""
    table = read_predictions(result.folder / "predict-2/predictions")
    archive = ImageArchive(result.folder / "ingest/images")
    command = [sys.executable, "-m", "pipelines.command.main", "serve", "--port", "0"]
    clean = clean_environment() | {"FACET_HOME": str(home)}
    server = subprocess.Popen(command, env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr
        said = next(line for line in server.stderr if "serving faces version 1 on" in line)
        url = said.split()[-1] + "/predict"
        for row in range(0, len(table.faces), 9):
            request = urllib.request.Request(url, data=archive.read(table.faces[row].path), method="POST")
            with urllib.request.urlopen(request) as answer:
                (face,) = json.load(answer)["faces"]
            got = list(face["heads"]["mask_gender_age"]["probabilities"].values())
            assert np.abs(got - table.heads["mask_gender_age"][row]).max() < 1e-3
    finally:
        server.terminate()
        server.communicate()
        assert set(take_down(home)) == {"mlflow", "s3"}, "left up by the server, still used by this test"


def test_serving_a_model_that_nobody_has_registered(home: Path, stack: dict[str, str]) -> None:
    """It says how to get one: the server knows of the registry alone."""
    settings = Settings.from_environment({"FACET_HOME": str(home)})
    text = "no registered model 'nobody' .*; .* `make pipeline-submit`"
    with patch.dict(os.environ, clean_environment(), clear=True), pytest.raises(InputError, match=text):
        serve(["models:/nobody@champion"], 0, settings)
    assert set(take_down(home)) == {"mlflow", "s3"}, "left up, still used by this test"


def test_an_interrupted_run_leaves_no_champion(home: Path, stack: dict[str, str]) -> None:
    """Stopped after the evaluation, when all floors hold and `register` has started."""
    (home.parent / ".env").write_text("".join(f"{name}={secret}\n" for name, secret in PLANTED.items()))
    values = TINY.model_dump(include={"model", "epochs", "image_height", "image_width", "floors", "training"})
    options = [f"--set={name}={json.dumps(value)}" for name, value in values.items()]
    command = [
        sys.executable,
        "-m",
        "pipelines.command.main",
        "run",
        "--set",
        "model_name=stopped",
        "--name",
        "stopped",
        *options,
    ]
    clean = clean_environment() | {"FACET_HOME": str(home)}
    lines = []
    with subprocess.Popen(
        command, env=clean, cwd=home.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if line.strip() == "register":
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130, "".join(lines)
    (home / "runs/stopped/said.txt").write_text("".join(lines))
    (home.parent / ".env").unlink()
    assert (home / "runs/stopped/evaluate/executor_output.json").exists()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        mlflow("registered-models/alias?name=stopped&alias=champion")


def test_no_run_leaves_a_secret_behind(home: Path, stack: dict[str, str], said: list[str]) -> None:
    """Not in its folder, artifacts and log, and not in the S3 and MLflow that it used."""
    keys = home / "s3-keys.json"
    hidden = {**PLANTED, "key": stack["AWS_SECRET_ACCESS_KEY"]}
    files = [path for path in home.rglob("*") if path.is_file() and path != keys]
    assert {"config.yaml", LOG, "mlflow.db", "best.pt", "model.onnx", REPORT} <= {path.name for path in files}
    texts = {str(path): path.read_bytes() for path in files} | {"said": "\n".join(said).encode()}
    leaks = [(name, path) for path, text in texts.items() for name in hidden if hidden[name].encode() in text]
    assert leaks == []


@pytest.mark.slow
def test_below_a_floor_is_a_candidate_only(home: Path, result: Run, stack: dict[str, str]) -> None:
    """So is its version in another precision, which is a model of its own."""
    config = TINY.model_copy(update={"floors": {"accuracy": 1.0}, "model_name": "weak", "precision": "int8"})
    mlflow("experiments/search?max_results=1")  # a run signs in to a server that is named, at once
    second = run_tiny(home, config, [])
    assert second.folder.name == "tiny.v11", "a run never overwrites another one"
    quantized = ["quantize", "predict-3", "evaluate-2", "register-2", "promote-2"]
    tasks = [name for name in second.seconds if name != "data-report"]
    assert set(tasks) == {*TASKS, *quantized} and [task for task in tasks if task in quantized] == quantized
    lines = list(summary.success(second, config))
    assert "int8           weak_int8, version 1 (candidate)" in lines
    assert {path.name for path in second.folder.glob("*.html")} == {
        *(name for name in REPORTED if name.endswith(".html")),
        *(QUANTIZE_REPORT, QUANTIZED_REPORT, QUANTIZED_PROMOTION_REPORT),
    }
    quantized_model = (second.folder / "quantize/quantized/model.onnx").read_bytes()
    assert load_model("models:/weak_int8@candidate").sha256 == hashlib.sha256(quantized_model).hexdigest()
    assert "model          weak, version 1 (candidate)" in lines
    assert any("Not promoted: the floors do not hold" in line for line in lines)
    assert any(line.strip().startswith("below its floor: accuracy of weak, ") for line in lines)
    assert "next: make serve MODEL=models:/weak@candidate" in lines


@pytest.fixture
def no_mlflow() -> Iterator[str]:
    """A server that lets everybody in and can do nothing, for a run that ends before it needs one."""
    with answering(200, b"{}") as address:
        yield f"http://{address}"


def facet(home: Path, mlflow: str, *arguments: str) -> subprocess.Popen[str]:
    clean = clean_environment() | {"FACET_HOME": str(home), "MLFLOW_TRACKING_URI": mlflow}
    command = [sys.executable, "-m", "pipelines.command.main", "run", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=clean, stdout=pipe, stderr=pipe, text=True, cwd=home.parent)


def test_a_failed_step_is_named_with_its_exception(tmp_path: Path, no_mlflow: str) -> None:
    (tmp_path / "nothing").mkdir()
    process = facet(
        tmp_path / "home", no_mlflow, "--set", f"source={tmp_path}/nothing", "--name", "broken", "--no-upload"
    )
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (1, "")
    assert "Traceback" not in out
    assert f"ingest failed: InputError: {tmp_path}/nothing" in out
    log = tmp_path / "home/runs/broken/log.txt"
    assert f"log            {log}" in out
    assert "Traceback" in log.read_text()
    assert "artifacts" not in out
    assert not processes_with(str(tmp_path))


def test_a_wrong_config_starts_nothing(tmp_path: Path, no_mlflow: str) -> None:
    process = facet(tmp_path / "home", no_mlflow, "--set", "epoch=3")
    out, err = process.communicate(timeout=180)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("facet: --set: epoch = 3: unknown key, did you mean 'epochs'?")
    assert not (tmp_path / "home").exists()


def test_a_killed_worker_takes_its_step_with_it(tmp_path: Path, no_mlflow: str) -> None:
    draw_sample(tmp_path / "faces", persons=60)
    process = facet(tmp_path / "home", no_mlflow, "--set", f"source={tmp_path}/faces")
    assert process.stdout
    while process.stdout.readline().strip() != "ingest":
        assert process.poll() is None
    running = processes_with(str(tmp_path))
    (worker,) = [pid for pid, command in running.items() if "pipelines.local.worker" in command]
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "failed" in out + err
    assert not any("executor_main" in command for command in processes_with(str(tmp_path)).values())


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 130),
        (signal.SIGHUP, 130),
        (signal.SIGQUIT, 130),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_an_interrupted_run_leaves_no_process(
    tmp_path: Path, no_mlflow: str, number: signal.Signals, code: int
) -> None:
    draw_sample(tmp_path / "faces", persons=60)
    process = facet(tmp_path / "home", no_mlflow, "--set", f"source={tmp_path}/faces")
    assert process.stdout
    while process.stdout.readline().strip() != "ingest":
        assert process.poll() is None
    process.send_signal(number)
    assert process.wait(timeout=120) == code
    deadline = time.monotonic() + 60
    while processes_with(str(tmp_path)):
        assert time.monotonic() < deadline, processes_with(str(tmp_path))
        time.sleep(0.05)
    if number != signal.SIGKILL:
        assert f"stopped; the outputs so far are in {tmp_path}/home/runs/classification" in process.stdout.read()
        for images in (tmp_path / "home/runs").rglob("images"):
            assert len(ImageArchive(images)) == 420, "a step that was killed left half an output"
    process.stdout.close()
    assert process.stderr
    process.stderr.close()
