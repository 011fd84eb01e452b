"""A step that trains on several nodes: its TrainJob, what it waits for and what it leaves behind."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes import client
from kubernetes_stand_in import FAILED, IMAGE, JOBS, Cluster, artifact_folder, check_train_job, step_on_cluster, until

from components.shared.options import parse_options
from components.shared.training.kubernetes_api import connect
from components.shared.training.train_job import manifest, s3_address, train_on_nodes
from components.shared.training.train_job_config import SECRET_KEYS, TrainJobSpec
from serving.runtime.errors import InputError
from serving.runtime.storage import Location, upload

TRAINING = Path(__file__).parents[4] / "docker" / "kubernetes" / "base" / "training"
COMMAND = ["-m", "package.trainee", "s3://b/config.json", "--faces", "s3://b/faces"]
POD = client.V1Pod(
    metadata=client.V1ObjectMeta(name="step-1", uid="uid-1"),
    spec=client.V1PodSpec(
        containers=[client.V1Container(name="wait", image="argo"), client.V1Container(name="main", image=IMAGE)]
    ),
)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with step_on_cluster(monkeypatch) as state:
        yield state


@pytest.fixture
def artifacts(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the step's artifacts; they are in S3 too."""
    folder, address = artifact_folder(tmp_path, monkeypatch)
    (folder / "faces").write_text("faces")
    upload(folder / "faces", f"{address}/faces")
    return folder


def train(artifacts: Path, **spec: Any) -> None:
    """Train `package.trainee`, which has one input and one argument."""
    train_on_nodes(
        TrainJobSpec(**spec),
        "package.trainee",
        {"epochs": 2, "state": ""},
        inputs={"faces": artifacts / "faces"},
        output=("checkpoints", artifacts / "checkpoints"),
        arguments={"experiment": "mine", "run-name": ""},
    )


def made(**spec: Any) -> dict[str, Any]:
    return manifest(TrainJobSpec(**spec), "facet-1", COMMAND, POD)


def finished(cluster: Cluster, body: dict[str, Any]) -> None:
    """Write what the nodes would have written."""
    arguments = body["spec"]["trainer"]["args"]
    target = Location(arguments[arguments.index("--checkpoints") + 1])
    file = Path(os.environ["TMPDIR"], "last.pt")
    file.write_bytes(b"weights")
    upload(file, target.join("last.pt").uri)


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
    """KFP passes numbers as floats."""
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
        "python", "-m", "torch.distributed.run", "-m", "package.trainee", "s3://b/config.json", "--faces", "s3://b/faces",
    ]  # fmt: skip
    assert made()["metadata"]["ownerReferences"][0]["uid"] == "uid-1", "deleted with the pod of the step"


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
    with pytest.raises(InputError, match=rf"{next(iter(spec))}"):
        parse_options(TrainJobSpec, spec, "train_job")


@pytest.mark.parametrize("path", ["/s3/bucket/run/images", "/minio/bucket/run/images"])
def test_the_address_of_an_artifact(path: str) -> None:
    assert s3_address(Path(path)) == "s3://bucket/run/images"


# --- the step --------------------------------------------------------------------------------------------------------


def test_the_step_waits_and_fetches_the_result(
    cluster: Cluster, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cluster.created = finished
    cluster.faults = [503, "drop"]
    cluster.states = [{}, {"type": "Suspended"}, {}, {"type": "Complete"}]
    train(artifacts)
    assert [path.name for path in (artifacts / "checkpoints").iterdir()] == ["last.pt"]
    (body,) = cluster.bodies
    address = s3_address(artifacts)
    assert body["spec"]["trainer"]["args"] == [
        "-m", "package.trainee", f"{address}/checkpoints.nodes/config.json", "--faces", f"{address}/faces",
        "--checkpoints", f"{address}/checkpoints.nodes/checkpoints", "--experiment", "mine",
    ]  # fmt: skip
    assert not Location(f"{address}/checkpoints.nodes").exists(), "nothing is left beside the output"
    assert not cluster.jobs, "a later attempt would find a complete TrainJob without its output"


def test_a_failed_training_says_why(cluster: Cluster, artifacts: Path) -> None:
    cluster.states, cluster.log = [{}, FAILED], "error: lower learning_rate\n"
    with pytest.raises(InputError, match=r"(?s)JobsFailed: jobset failed due.*error: lower learning_rate"):
        train(artifacts)
    assert not (artifacts / "checkpoints").exists()


def test_a_step_that_is_started_again_finds_its_train_job(cluster: Cluster, artifacts: Path) -> None:
    """The first attempt is cut off; the second finds the running TrainJob, the third the failed one."""
    cluster.states = [{}]
    cluster.faults = [0, 0, 0, *(80 * [500])]
    with pytest.raises(InputError, match="the Kubernetes API does not answer: 500"):
        train(artifacts)
    cluster.faults, cluster.states = [], [{}, FAILED]
    with pytest.raises(InputError, match="JobsFailed"):
        train(artifacts)
    assert len(cluster.bodies) == 1
    cluster.states = [FAILED, {}, FAILED]
    with pytest.raises(InputError, match="JobsFailed"):
        train(artifacts)
    first, second = cluster.bodies
    assert first == second, "the same, so that the nodes continue after the last finished epoch"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_step_deletes_its_train_job(cluster: Cluster, artifacts: Path, number: signal.Signals) -> None:
    cluster.states = [{}]

    def interrupt() -> None:
        until(lambda: any(method == "GET" and path.startswith(f"{JOBS}/") for method, path in cluster.asked))
        os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        train(artifacts)
    thread.join()
    assert cluster.bodies and not cluster.jobs
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_train_job_that_somebody_deletes(cluster: Cluster, artifacts: Path) -> None:
    cluster.states = [{}]
    threading.Thread(target=lambda: (until(lambda: bool(cluster.jobs)), cluster.jobs.clear())).start()
    with pytest.raises(InputError, match="was deleted"):
        train(artifacts)


@pytest.mark.parametrize(
    ("fault", "said"), [(403, "overlays/training"), (404, "install Kubeflow Trainer"), (422, "rejects the request")]
)
def test_a_rejected_request_says_what_to_do(cluster: Cluster, artifacts: Path, fault: int, said: str) -> None:
    cluster.faults = [0, fault]
    with pytest.raises(InputError, match=said):
        train(artifacts)


def test_the_role_of_the_manifests_allows_what_the_step_does(cluster: Cluster, artifacts: Path) -> None:
    cluster.states = [FAILED]
    for _ in range(2):
        with pytest.raises(InputError, match="JobsFailed"):
            train(artifacts)
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
        train(tmp_path)


def test_the_runtime_of_the_manifests_has_pods_that_fit(tmp_path: Path) -> None:
    runtime = yaml.safe_load((TRAINING / "runtime.yaml").read_text())
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": replicated["template"]["spec"]}
    kubernetes_validate.validate(job, "1.37.0", strict=True)
    # By these names Kubeflow Trainer finds the job and the container that a TrainJob changes.
    assert replicated["name"] == "node"
    assert replicated["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert [container["name"] for container in job["spec"]["template"]["spec"]["containers"]] == ["node"]
