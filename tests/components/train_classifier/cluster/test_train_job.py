"""Several nodes train: the TrainJob, the step that waits for it, and the command of its pods."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes import client
from kubernetes_stand_in import IMAGE, JOBS, Cluster, check_train_job, serve, until
from train_samples import config, write_dataset

from components.shared.models.checkpoint import load_checkpoint
from components.shared.secret import SECRET_KEYS
from components.train_classifier.cluster import train_job
from components.train_classifier.cluster.kubernetes_api import TrainJobApi, connect
from components.train_classifier.cluster.node_data import local_copy, node_folder
from components.train_classifier.cluster.train_job import manifest, s3_address, train_on_nodes
from components.train_classifier.trial import attempt
from pipelines.local.supervisor import free_port
from serving.runtime.errors import InputError
from serving.runtime.storage import Location, make_bucket, upload

TRAINING = Path(__file__).parents[4] / "docker" / "kubernetes" / "base" / "training"
POD = {
    "metadata": {"name": "step-1", "uid": "uid-1"},
    "spec": {"containers": [{"name": "wait", "image": "argo"}, {"name": "main", "image": IMAGE}]},
}
FAILED = {"type": "Failed", "reason": "JobsFailed", "message": "jobset failed due to one or more job failures"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster, and steps that think they are in it."""
    monkeypatch.setenv("KFP_POD_NAME", "step-1")
    monkeypatch.setattr(train_job, "POLL_S", 0.01)
    monkeypatch.setattr(train_job, "PATIENCE_S", 0.2)
    with serve(Cluster()) as state:
        settings = client.Configuration(host=state.url)
        settings.retries = False
        monkeypatch.setattr(train_job, "connect", lambda: TrainJobApi(client.ApiClient(settings), "team"))
        yield state


@pytest.fixture
def artifacts(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where KFP's launcher puts the artifacts of a step whose pipeline root is in S3; the data are there too."""
    monkeypatch.setattr(train_job, "_MOUNTS", (f"{tmp_path}/s3/",))
    bucket = tmp_path.name.replace("_", "-").lower()
    make_bucket(bucket)
    folder = tmp_path / "s3" / bucket / "run"
    folder.mkdir(parents=True)
    write_dataset(folder)
    for name in ("images", "annotations.json"):
        upload(folder / name, f"s3://{bucket}/run/{name}")
    return {
        "images": folder / "images",
        "annotations": folder / "annotations.json",
        "checkpoints": folder / "checkpoints",
    }


def made(**spec: Any) -> dict[str, Any]:
    arguments = {"images": "s3://b/images", "annotations": "s3://b/faces", "checkpoints": "s3://b/out", "run-name": ""}
    return manifest(config(train_job=spec), "facet-1", "s3://b/config.json", arguments, POD)


def finished(cluster: Cluster, body: dict[str, Any]) -> None:
    """Put there what the nodes would have written."""
    given = body["spec"]["trainer"]["args"]
    target = Location(given[given.index("--checkpoints") + 1])
    row = {"epoch": 1.0, "train_loss": 0.5, "val_loss": 0.4, "val_f1": 0.75}
    for name, content in (("config.json", {"run_id": "abc"}), ("history.json", [row])):
        file = Path(os.environ["TMPDIR"], name)
        file.write_text(json.dumps(content))
        upload(file, target.join(name).uri)


# --- the manifest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"nodes": 4.0, "processes": 8.0, "resources": {"cpu": 16.0, "memory": "64Gi", "nvidia.com/gpu": 8.0}},
        {"runtime": "facet", "runtime_kind": "TrainingRuntime", "image": "other:1", "secret": "keys"},
    ],
)
def test_the_manifest_is_what_the_resource_is_defined_as(spec: dict[str, Any]) -> None:
    """Numbers come as floats out of KFP."""
    check_train_job(made(**spec))


def test_the_manifest_says_what_was_configured() -> None:
    spec = made(nodes=3, processes=2, resources={"cpu": 4, "nvidia.com/gpu": 1})["spec"]
    assert spec["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": "torch-distributed",
    }  # fmt: skip
    trainer = spec["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (3, 2)
    assert trainer["resourcesPerNode"] == {key: {"cpu": "4", "nvidia.com/gpu": "1"} for key in ("requests", "limits")}
    assert trainer["image"] == IMAGE, "the nodes run the very image of the step"
    assert trainer["command"] + trainer["args"] == [
        "python", "-m", "torch.distributed.run", "-m", "components.train_classifier", "s3://b/config.json",
        "--images", "s3://b/images", "--annotations", "s3://b/faces", "--checkpoints", "s3://b/out",
    ]  # fmt: skip
    assert made()["metadata"]["ownerReferences"][0]["uid"] == "uid-1", "it goes when the pod of the step does"


def test_secrets_are_named_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET_KEYS:
        monkeypatch.setenv(name, "planted")
    body = made(secret="keys")
    assert "planted" not in json.dumps(body)
    references = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in body["spec"]["trainer"]["env"]}
    assert references.keys() == set(SECRET_KEYS)
    assert all(reference == {"name": "keys", "key": name, "optional": True} for name, reference in references.items())


@pytest.mark.parametrize("spec", [{"nodes": 0}, {"processes": 1.5}, {"node": 2}, {"runtime_kind": "Job"}])
def test_a_wrong_entry_is_named(spec: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"train_job\.{next(iter(spec))}"):
        config(train_job=spec)


def test_where_a_training_runs_changes_nothing_of_what_it_is() -> None:
    assert config(train_job={}).digest("data") == config().digest("data")


@pytest.mark.parametrize("path", ["/s3/bucket/run/images", "/minio/bucket/run/images"])
def test_the_address_of_an_artifact(path: str) -> None:
    assert s3_address(Path(path)) == "s3://bucket/run/images"


# --- the step --------------------------------------------------------------------------------------------------------


def test_the_step_waits_and_fetches_the_result(
    cluster: Cluster, artifacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cluster.created = finished
    cluster.faults = [503, "drop"]
    cluster.states = [{}, {"type": "Suspended"}, {}, {"type": "Complete"}]
    result = train_on_nodes(config(train_job={}), **artifacts, experiment="mine")
    assert (result.run_id, result.best_epoch, result.metrics["val_f1"]) == ("abc", 1, 0.75)
    assert sorted(path.name for path in artifacts["checkpoints"].iterdir()) == ["config.json", "history.json"]
    (body,) = cluster.bodies
    assert body["spec"]["trainer"]["args"][-2:] == ["--experiment", "mine"]
    assert not Location(f"{s3_address(artifacts['checkpoints'])}.nodes").exists(), "nothing is left beside the output"
    assert not cluster.jobs, "a complete TrainJob without its result would be found by a later attempt"


def test_a_failed_training_says_why(cluster: Cluster, artifacts: dict[str, Path]) -> None:
    cluster.states, cluster.log = [{}, FAILED], "error: lower learning_rate\n"
    with pytest.raises(InputError, match=r"(?s)JobsFailed: jobset failed due.*error: lower learning_rate"):
        train_on_nodes(config(train_job={}), **artifacts)
    assert not artifacts["checkpoints"].exists()


def test_a_step_that_is_started_again_finds_its_train_job(cluster: Cluster, artifacts: dict[str, Path]) -> None:
    """The first attempt ends without a word; the second finds what goes on, the third what has failed."""
    cluster.states = [{}]
    cluster.faults = [0, 0, 0, *(80 * [500])]
    with pytest.raises(InputError, match="no answer"):
        train_on_nodes(config(train_job={}), **artifacts)
    cluster.faults, cluster.states = [], [{}, FAILED]
    with pytest.raises(InputError, match="JobsFailed"):
        train_on_nodes(config(train_job={}), **artifacts)
    assert len(cluster.bodies) == 1
    cluster.states = [FAILED, {}, FAILED]
    with pytest.raises(InputError, match="JobsFailed"):
        train_on_nodes(config(train_job={}), **artifacts)
    first, second = cluster.bodies
    assert first == second, "and it is the same, so that the nodes go on after the last finished epoch"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_step_deletes_its_train_job(
    cluster: Cluster, artifacts: dict[str, Path], number: signal.Signals
) -> None:
    cluster.states = [{}]

    def interrupt() -> None:
        until(lambda: any(method == "GET" and path.startswith(f"{JOBS}/") for method, path in cluster.asked))
        os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        train_on_nodes(config(train_job={}), **artifacts)
    thread.join()
    assert cluster.bodies and not cluster.jobs
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_train_job_that_somebody_deletes(cluster: Cluster, artifacts: dict[str, Path]) -> None:
    cluster.states = [{}]
    threading.Thread(target=lambda: (until(lambda: bool(cluster.jobs)), cluster.jobs.clear())).start()
    with pytest.raises(InputError, match="was deleted"):
        train_on_nodes(config(train_job={}), **artifacts)


@pytest.mark.parametrize(
    ("fault", "said"), [(403, "overlays/training"), (404, "install Kubeflow Trainer"), (422, "refuses it")]
)
def test_a_refusal_says_what_to_do(cluster: Cluster, artifacts: dict[str, Path], fault: int, said: str) -> None:
    cluster.faults = [0, fault]
    with pytest.raises(InputError, match=said):
        train_on_nodes(config(train_job={}), **artifacts)


def test_the_role_of_the_manifests_allows_what_the_step_does(cluster: Cluster, artifacts: dict[str, Path]) -> None:
    cluster.states = [FAILED]
    for _ in range(2):
        with pytest.raises(InputError, match="JobsFailed"):
            train_on_nodes(config(train_job={}), **artifacts)
    role, binding = yaml.safe_load_all((TRAINING / "account.yaml").read_text())
    allowed = {(name, verb) for rule in role["rules"] for name in rule["resources"] for verb in rule["verbs"]}
    done = set()
    for method, path in cluster.asked:
        kind, *rest = path.split("/namespaces/team/")[1].split("/")
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if rest else "list")
        done.add(("/".join([kind, *rest[1:]]), verb))
    assert done == allowed
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_outside_of_a_cluster_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InputError, match="leave train_job out"):
        connect()
    with pytest.raises(InputError, match="is not in S3"):
        attempt({"label_space": "mask", "train_job": {}}, {}, tmp_path, tmp_path, tmp_path / "out")


def test_the_runtime_of_the_manifests_has_pods_that_fit(tmp_path: Path) -> None:
    runtime = yaml.safe_load((TRAINING / "runtime.yaml").read_text())
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": replicated["template"]["spec"]}
    kubernetes_validate.validate(job, "1.37.0", strict=True)
    # By these names Kubeflow Trainer finds the job and the container that a TrainJob changes.
    assert replicated["name"] == "node"
    assert replicated["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert [container["name"] for container in job["spec"]["template"]["spec"]["containers"]] == ["node"]


# --- the nodes -------------------------------------------------------------------------------------------------------


def test_a_node_fetches_its_data_once(artifacts: dict[str, Path], tmp_path: Path) -> None:
    address = s3_address(artifacts["annotations"])
    with node_folder() as folder:
        copy = local_copy(address, folder)
        assert copy.read_bytes() == artifacts["annotations"].read_bytes()
        stamp = copy.stat().st_mtime_ns
        assert local_copy(address, folder).stat().st_mtime_ns == stamp
        images = local_copy(s3_address(artifacts["images"]), folder)
        assert [path.name for path in images.iterdir()] == ["images-00000.zip"]
        assert local_copy(str(tmp_path), folder) == tmp_path
    assert not folder.exists()


def run_nodes(cluster: Cluster, body: dict[str, Any]) -> None:
    """Do what Kubeflow Trainer does with a TrainJob: run its command on every node, and tell how that ended."""
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
    result = train_on_nodes(config(train_job={"nodes": 2}), **artifacts)
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
        train_on_nodes(config(train_job={"nodes": 2}), **artifacts)
