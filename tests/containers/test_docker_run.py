"""The pipeline in containers: the same results as in processes, killed or not, and nothing left behind."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from components import container_images
from pipelines.classification import ClassificationConfig
from pipelines.local.kfp_docker import LABEL, Containers, StepFailedError, check_images, run_options
from pipelines.local.kfp_log import STARTED
from pipelines.local.run import Run
from pipelines.local.run_folder import LOG, OUTPUTS
from pipelines.local.stack import Stack
from serving.runtime.errors import InputError
from serving.runtime.storage import upload

pytestmark = pytest.mark.containers
STEP_SECONDS = 2.0
IMPORTS = "import kfp.dsl, components.train_classifier.train"
SAME_BYTES = {
    "ingest/images/images-00000.zip",
    "ingest/annotations",
    "curate/curated_annotations",
    "split/split_annotations",
    "data-report/report",
    "train-classifier/checkpoints/history.json",
    "export-onnx/model/model.onnx",
    "predict/predictions",
    "evaluate/report",
}
OF_THE_RUN = {
    "train-classifier/checkpoints/" + name
    for name in ("best.pt", "best_acc.pt", "best_f1.pt", "last.pt", "config.json")
}
"""Files that hold the id of the MLflow run, which MLflow draws; config.json also tells where it was trained."""


OF_THE_REGISTRY = {"promote/report"}
"""Pages about the versions in the registry, of which each run makes another."""


def files(run: Run) -> dict[str, bytes]:
    """What the steps wrote, without KFP's own file (it holds paths) and TensorBoard's (it holds the time)."""
    paths = (path for task in run.folder.iterdir() if task.is_dir() for path in task.rglob("*") if path.is_file())
    return {
        str(path.relative_to(run.folder)): path.read_bytes()
        for path in paths
        if path.name != OUTPUTS and not path.name.startswith("events.out.tfevents.")
    }


def assert_same(found: Run, expected: Run) -> None:
    """All files byte by byte but what is of the registry; the checkpoints' facts but for the id of the MLflow run."""
    mine, theirs = files(found), files(expected)
    assert set(mine) == set(theirs)
    assert set(mine) >= SAME_BYTES | OF_THE_RUN
    assert [name for name in sorted(set(mine) - OF_THE_RUN - OF_THE_REGISTRY) if mine[name] != theirs[name]] == []
    for name in OF_THE_RUN:
        one, other = (facts(name, content) for content in (mine[name], theirs[name]))
        assert one.pop("run_id") != other.pop("run_id")
        for side in (one, other):
            side.pop("environment", None)
        assert_equal(one, other)


def facts(name: str, content: bytes) -> dict[str, Any]:
    if name.endswith(".json"):
        return dict(json.loads(content))
    return dict(torch.load(io.BytesIO(content), weights_only=True))


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_containers_and_processes_give_the_same(in_containers: Run, in_processes: Run) -> None:
    assert (in_containers.failed, in_processes.failed) == ("", "")
    assert set(in_containers.seconds) == set(in_processes.seconds)
    assert_same(in_containers, in_processes)


def test_every_step_ran_in_its_image(in_containers: Run, in_processes: Run) -> None:
    """The step's own folder is the images' and its files are not root's."""
    for task in (path for path in in_containers.folder.iterdir() if path.is_dir()):
        assert all(path.stat().st_uid != 0 for path in task.rglob("*"))
    assert in_containers.mlflow_run.startswith("http://127.0.0.1:")


def test_no_credential_is_in_the_log(in_containers: Run, stack: Stack) -> None:
    log = (in_containers.folder / LOG).read_text()
    assert stack.environment["AWS_SECRET_ACCESS_KEY"] not in log
    assert stack.environment["AWS_ACCESS_KEY_ID"] not in log


def container(engine: Any, folder: Path, *command: str, image: str = container_images.DATA) -> int:
    return Containers(folder).run(engine, image, list(command), {}, **run_options(folder, os.environ, {}))


def test_what_a_container_adds_to_a_step(
    engine: Any, tmp_path: Path, in_containers: Run, in_processes: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same imports in a container and as a process, in turns; the best of each, as others use the machine too."""
    seconds: dict[str, list[float]] = {"container": [], "process": [], "empty": []}
    for _ in range(3):
        began = time.monotonic()
        assert container(engine, tmp_path, "true") == 0
        seconds["empty"].append(time.monotonic() - began)
        began = time.monotonic()
        assert container(engine, tmp_path, "python", "-c", IMPORTS, image=container_images.TRAIN) == 0
        seconds["container"].append(time.monotonic() - began)
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", IMPORTS], check=True)
        seconds["process"].append(time.monotonic() - began)
    best = {name: min(taken) for name, taken in seconds.items()}
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {taken:.2f} s" for name, taken in best.items()))
        for name, taken in in_containers.seconds.items():
            print(f"  {name:<18}{taken:6.1f} s, as a process {in_processes.seconds[name]:6.1f} s")
    assert best["container"] - best["process"] < STEP_SECONDS
    assert best["empty"] < STEP_SECONDS


def test_the_exit_code_of_a_container_counts(engine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However fast it ends and removes itself."""
    for _ in range(5):
        assert container(engine, tmp_path, "sh", "-c", "echo one; printf 'two\\nthree'") == 0
        with pytest.raises(StepFailedError, match="exit code 3"):
            container(engine, tmp_path, "sh", "-c", "echo said; exit 3")
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("one") == lines.count("two") == lines.count("three") == lines.count("said") == 5
    assert engine.containers.list(all=True, filters={"label": f"{LABEL}={tmp_path}"}, ignore_removed=True) == []


def kill_at(engine: Any, line: str) -> Callable[[str], None]:
    """Kills the run's container once, when the run says a line that starts so."""
    done = []

    def echo(said: str) -> None:
        print(said)
        if said.startswith(line) and not done:
            deadline = time.monotonic() + 30
            while not (found := engine.containers.list(filters={"label": LABEL}, ignore_removed=True)):
                assert time.monotonic() < deadline
            found[0].kill()
            done.append(said)

    return echo


@pytest.mark.parametrize("line", ["split", "  epoch 1 "])
def test_a_step_that_is_killed_runs_once_more_with_the_same_result(
    engine: Any, run_in: Callable[..., Run], in_containers: Run, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_in("docker", "killed", echo=kill_at(engine, line))
    assert (run.failed, run.error) == ("", "")
    step = "split" if line == "split" else "train-classifier"
    assert f"{step}  once more" in capsys.readouterr().out.splitlines()
    assert_same(run, in_containers)


def test_a_step_that_fails_is_not_tried_again(
    run_in: Callable[..., Run], small: ClassificationConfig, stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "no photo.txt").touch()
    with patch.dict(os.environ, stack.environment):
        upload(tmp_path / "no photo.txt", "s3://raw/nothing/")
    run = run_in("docker", "failing", small.model_copy(update={"source": "s3://raw/nothing"}))
    assert run.failed == "ingest"
    assert "s3://raw/nothing" in run.error
    assert (run.folder / LOG).read_text().count(f"{STARTED} ingest\n") == 1


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_container_and_no_champion(
    engine: Any, home: Path, stack: Stack, in_containers: Run, stop: signal.Signals
) -> None:
    options = ["model=base", "epochs=500", "image_height=32", "image_width=24", "model_name=stopped"]
    command = [sys.executable, "-m", "pipelines.command.main", "run", "--runner", "docker", "--name", "stopped"]
    process = subprocess.Popen(
        [*command, *(word for option in options for word in ("--set", option))],
        env=os.environ | {"FACET_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        assert any(line.startswith("  epoch 1 ") for line in process.stdout)
        process.send_signal(stop)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 20
    while engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
        assert stop == signal.SIGKILL and time.monotonic() < deadline
        time.sleep(0.1)
    url = f"{stack.environment['MLFLOW_TRACKING_URI']}/api/2.0/mlflow"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/registered-models/get?name=stopped")
    if stop == signal.SIGINT:
        query = json.dumps({"experiment_ids": ["1"], "max_results": 1}).encode()
        ask = urllib.request.Request(f"{url}/runs/search", query, {"Content-Type": "application/json"})
        with urllib.request.urlopen(ask) as answer:
            (newest,) = json.load(answer)["runs"]
        assert newest["info"]["status"] == "KILLED"


def test_images_that_are_missing_are_named_before_anything_starts(engine: Any) -> None:
    check_images([container_images.DATA, container_images.TRAIN])
    with pytest.raises(InputError, match="does not have facet/nothing:1: run `make images`"):
        check_images([container_images.DATA, "facet/nothing:1"])
    with pytest.raises(InputError, match='run `TARGETS="video" make images`'):
        check_images([container_images.DATA, container_images.VIDEO])


def test_a_folder_of_photos_is_mounted_read_only(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir(mode=0o755)
    (tmp_path / "photos/a.txt").write_text("seen")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    for source in ("./photos", str(tmp_path / "photos")):
        options = run_options(tmp_path / "out", {}, {"source": source, "options": [{"manifest": "not/there.csv"}]})
        said = engine.containers.run(
            container_images.DATA, ["sh", "-c", f"cat {source}/a.txt; touch {source}/b || echo refused"],
            remove=True, stderr=True, **options,
        )  # fmt: skip
        assert b"seen" in said
        assert b"refused" in said
