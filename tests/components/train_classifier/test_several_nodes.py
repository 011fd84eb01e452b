"""A classifier trained on the nodes of a TrainJob: the result of the step, and the command of its pods."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes_stand_in import FAILED, Cluster, artifact_folder, step_on_cluster
from train_samples import config, write_dataset

from components.shared.models.checkpoint import load_checkpoint
from components.shared.training.train_job import s3_address
from components.train_classifier.config.training import resolve_config
from components.train_classifier.trial import run_training
from pipelines.local.supervisor import free_port
from serving.runtime.errors import InputError
from serving.runtime.storage import Location, upload


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with step_on_cluster(monkeypatch) as state:
        yield state


@pytest.fixture
def artifacts(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The artifacts of a training step; its inputs are in S3 too."""
    folder, address = artifact_folder(tmp_path, monkeypatch)
    write_dataset(folder)
    for name in ("images", "annotations.json"):
        upload(folder / name, f"{address}/{name}")
    return {
        "images": folder / "images",
        "annotations": folder / "annotations.json",
        "checkpoints": folder / "checkpoints",
    }


def train(artifacts: dict[str, Path], **spec: Any) -> Any:
    """Train as the step does, and return its TrainResult."""
    resolve = partial(resolve_config, config(train_job=spec).model_dump(mode="json"))
    return run_training(resolve, None, **artifacts, experiment="mine")[0]


def finished(cluster: Cluster, body: dict[str, Any]) -> None:
    """Write what the nodes would have written."""
    arguments = body["spec"]["trainer"]["args"]
    target = Location(arguments[arguments.index("--checkpoints") + 1])
    row = {"epoch": 1.0, "train_loss": 0.5, "val_loss": 0.4, "val_f1": 0.75}
    for name, content in (("config.json", {"run_id": "abc"}), ("history.json", [row])):
        file = Path(os.environ["TMPDIR"], name)
        file.write_text(json.dumps(content))
        upload(file, target.join(name).uri)


def test_the_step_returns_the_result_of_the_nodes(
    cluster: Cluster, artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cluster.created = finished
    result = train(artifacts)
    assert (result.run_id, result.best_epoch, result.metrics["val_f1"]) == ("abc", 1, 0.75)
    assert sorted(path.name for path in artifacts["checkpoints"].iterdir()) == ["config.json", "history.json"]
    (body,) = cluster.bodies
    assert body["spec"]["trainer"]["args"][-2:] == ["--experiment", "mine"]


@pytest.mark.parametrize("spec", [{"nodes": 0}, {"processes": 1.5}, {"node": 2}, {"runtime_kind": "Job"}])
def test_a_wrong_entry_of_train_job_is_named(spec: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"train_job\.{next(iter(spec))}"):
        config(train_job=spec)


def test_where_a_training_runs_does_not_change_its_digest() -> None:
    assert config(train_job={}).digest("data") == config().digest("data")


def run_nodes(cluster: Cluster, body: dict[str, Any]) -> None:
    """Do what Kubeflow Trainer does with a TrainJob: run its command on every node, and set its condition."""
    trainer = body["spec"]["trainer"]
    cluster.states = [{}]
    variables = {
        **os.environ,
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(free_port(None)),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, *trainer["command"][1:], *trainer["args"]]
    nodes = [
        subprocess.Popen(command, env=variables | {"PET_NODE_RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(trainer["numNodes"])
    ]

    def watch() -> None:
        written = [node.communicate()[1] for node in nodes]
        cluster.log = "".join(written)
        cluster.states = [FAILED if any(node.returncode for node in nodes) else {"type": "Complete"}]

    threading.Thread(target=watch).start()


@pytest.mark.slow
def test_two_nodes_train_one_network_through_s3(cluster: Cluster, artifacts: dict[str, Path]) -> None:
    """The command of the manifest, run as Kubeflow Trainer would run it on two nodes."""
    cluster.created = run_nodes
    result = train(artifacts, nodes=2)
    history = json.loads((artifacts["checkpoints"] / "history.json").read_text())
    assert len(history) == 2 and result.metrics["train_loss"] == history[result.best_epoch - 1]["train_loss"]
    assert load_checkpoint(artifacts["checkpoints"] / "last.pt").metrics == history[-1]
    assert not Location(f"{s3_address(artifacts['checkpoints'])}.nodes").exists()


@pytest.mark.slow
def test_what_a_node_says_before_it_fails_reaches_the_user(cluster: Cluster, artifacts: dict[str, Path]) -> None:
    cluster.created = run_nodes
    annotations = json.loads(artifacts["annotations"].read_text())
    for image in annotations["images"]:
        image["split"] = "test"
    artifacts["annotations"].write_text(json.dumps(annotations))
    upload(artifacts["annotations"], s3_address(artifacts["annotations"]))
    with pytest.raises(InputError, match="training needs at least 2"):
        train(artifacts, nodes=2)


def test_the_nodes_read_the_crops_where_there_are_any(
    cluster: Cluster, artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cluster.created = finished
    crops = artifacts["images"].with_name("crops")
    crops.mkdir()
    train({**artifacts, "crops": crops})
    (crops / "annotations.json").touch()
    train({**artifacts, "checkpoints": artifacts["checkpoints"].with_name("again"), "crops": crops})
    without, having = (body["spec"]["trainer"]["args"] for body in cluster.bodies)
    assert "--crops" not in without
    assert having[having.index("--crops") + 1] == s3_address(crops)
