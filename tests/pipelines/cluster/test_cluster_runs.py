"""Runs on the cluster: their state, waiting through faults, cancelling, logs."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest
from kfp_stand_in import NOW, StandIn, serve

from pipelines.cluster import connect as connect_module
from pipelines.cluster import runs as runs_module
from pipelines.cluster.connect import Cluster, connect
from pipelines.cluster.logs import logs
from pipelines.cluster.runs import cancel, newest, run_id_of, status, wait_for_run
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from serving.runtime.errors import InputError

Make = Callable[..., Settings]


def task(name: str, state: str, minutes: int, message: str = "", pods: tuple[str, ...] = ()) -> Any:
    return api.V2beta1PipelineTaskDetail(
        display_name=name,
        state=state,
        start_time=NOW + timedelta(minutes=minutes),
        end_time=NOW + timedelta(minutes=minutes, seconds=61),
        error=api.GoogleRpcStatus(message=message) if message else None,
        child_tasks=[api.PipelineTaskDetailChildTask(pod_name=pod) for pod in pods],
    )


@pytest.fixture
def cluster(stand_in: StandIn, cluster_settings: Make, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(connect_module, "TIMEOUT_SECONDS", (1.0, 0.3))
    stand_in.runs = [
        api.V2beta1Run(run_id=f"run-{number}", display_name=f"faces {number}", created_at=NOW) for number in (1, 2)
    ]
    stand_in.tasks = [
        task("root", "FAILED", 0),
        task("root(0)", "FAILED", 0),
        task("root-driver(0)", "SUCCEEDED", 0),
        task("train-classifier", "FAILED", 2, "out of memory", ("pod-7", "pod-8")),
        task("train-classifier-driver(0)", "SUCCEEDED", 2),
        task("executor(0)", "FAILED", 2),
        task("ingest", "SUCCEEDED", 1),
    ]
    return connect(cluster_settings())


def wait(cluster: Cluster) -> str:
    lines: list[str] = []
    wait_for_run(cluster, "run-1", echo=lines.append)
    return "\n".join(lines)


def test_status(cluster: Cluster, stand_in: StandIn) -> None:
    stand_in.states = ["FAILED"]
    assert [line.split("  ")[0] for line in newest(cluster)] == ["run-2", "run-1"]
    lines = list(status(cluster, "run-1"))
    assert lines[:3] == ["run     faces 1", f"page    {stand_in.url}/#/runs/details/run-1", "state   FAILED"]
    assert [line.split() for line in lines[4:]] == [
        ["ingest", "SUCCEEDED", "0:01:01"],
        ["train-classifier", "FAILED", "0:01:01:", "out", "of", "memory"],
    ]
    with pytest.raises(ClusterError, match="there is no run 'run-9' on this cluster: `facet status` lists the newest"):
        list(status(cluster, "run-9"))
    assert run_id_of(f"{stand_in.url}/#/runs/details/run-1") == run_id_of("run-1") == "run-1"


def test_where_to_read_whether_the_champion_moved(cluster: Cluster, stand_in: StandIn) -> None:
    stand_in.states = ["SUCCEEDED"]
    stand_in.tasks = [task("promote", "SUCCEEDED", 1), task("promote-2", "FAILED", 2), task("register", "SUCCEEDED", 3)]
    line = "whether the champion moved, and why: facet logs run-1 promote"
    assert list(status(cluster, "run-1"))[-1] == line and wait(cluster).splitlines()[-1] == line


Nodes = list[tuple[str, str, int]]


@pytest.mark.parametrize(
    ("nodes", "lines"),
    [
        ([("ingest", "RUNNING", 1)], ["ingest RUNNING 0:01:01"]),
        ([("ingest(0)", "SUCCEEDED", 1)], ["ingest SUCCEEDED 0:01:01"]),
        ([("ingest(0)", "FAILED", 1), ("ingest(1)", "RUNNING", 3)], ["ingest RUNNING 0:03:01, 2 attempts"]),
        (
            [("ingest", "RUNNING", 1), ("ingest(0)", "FAILED", 1), ("ingest(1)", "RUNNING", 3)],
            ["ingest RUNNING 0:01:01, 2 attempts"],
        ),
        (
            [
                ("train", "SUCCEEDED", 1),
                ("train", "FAILED", 2),
                ("train(0)", "FAILED", 1),
                ("train(1)", "SUCCEEDED", 3),
            ],
            ["train SUCCEEDED 0:01:01, 2 attempts", "train FAILED 0:01:01"],
        ),
        (
            [("train(0)", "FAILED", 1), ("train(0)", "SUCCEEDED", 2), ("train(1)", "SUCCEEDED", 3)],
            ["train SUCCEEDED 0:03:01, 2 attempts", "train SUCCEEDED 0:01:01"],
        ),
        ([("for-loop-1(0)", "RUNNING", 1), ("iteration-item-0(0)", "RUNNING", 1), ("executor(1)", "FAILED", 1)], []),
    ],
)
def test_the_attempts_of_a_task_are_one_line(
    cluster: Cluster, stand_in: StandIn, nodes: Nodes, lines: list[str]
) -> None:
    stand_in.tasks = [task(name, state, minutes) for name, state, minutes in nodes]
    assert [" ".join(line.split()) for line in list(status(cluster, "run-1"))[4:]] == lines


@pytest.mark.parametrize(
    ("states", "fails"),
    [
        (["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"], None),
        (["RUNNING", "FAILED"], r"ended as FAILED; failed: train-classifier \(out of memory\)"),
        (["RUNNING", "CANCELING", "CANCELING", "CANCELED"], "ended as CANCELED"),
        (["SKIPPED"], "ended as SKIPPED"),
    ],
)
def test_waiting_ends_in_every_final_state(
    cluster: Cluster, stand_in: StandIn, states: list[str], fails: str | None
) -> None:
    stand_in.states = states
    if fails:
        with pytest.raises(ClusterError, match=fails):
            wait(cluster)
    else:
        assert wait(cluster).count("RUNNING") == 1


@pytest.mark.parametrize("fault", [503, 500, 429, "garbage", "page", "hang", "drop"])
def test_a_transient_fault_does_not_end_the_wait(cluster: Cluster, stand_in: StandIn, fault: object) -> None:
    stand_in.faults = [fault, None, fault]
    assert wait(cluster).endswith("SUCCEEDED")
    assert stand_in.faults == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (401, r"\(401\): the token in KFP_TOKEN has expired"),
        (403, r"\(403\)"),
        (404, "there is no run 'run-1'"),
        ("login", "a login page: the token in KFP_TOKEN has expired"),
    ],
)
def test_a_permanent_fault_ends_the_wait(cluster: Cluster, stand_in: StandIn, fault: object, message: str) -> None:
    stand_in.faults = [None, fault]
    with pytest.raises(ClusterError, match=message):
        wait(cluster)


def test_a_token_that_is_renewed_in_its_file_while_waiting(
    stand_in: StandIn, cluster_settings: Make, cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("a-token")
    patient = connect(cluster_settings(KFP_TOKEN="", KF_PIPELINES_SA_TOKEN_PATH=str(file)))
    stand_in.tokens = {"renewed"}
    threading.Timer(0.1, file.write_text, ["renewed"]).start()
    assert wait(patient).endswith("SUCCEEDED")


def test_a_server_that_restarts_between_two_requests(cluster_settings: Make, cluster: Cluster) -> None:
    state = StandIn(runs=cluster.runs and [api.V2beta1Run(run_id="run-1")], states=["RUNNING"])
    finished: list[str] = []
    with serve(state):
        port = int(state.url.rpartition(":")[2])
        patient = connect(cluster_settings(KFP_HOST=state.url))
        waiting = threading.Thread(target=lambda: finished.append(wait(patient)))
        waiting.start()
        while len(state.asked) < 3:
            time.sleep(0.01)
    time.sleep(0.1)
    assert waiting.is_alive(), "no server responds, and the wait continues"
    state.states = ["SUCCEEDED"]
    with serve(state, port=port):
        waiting.join(20)
    assert finished[0].endswith("SUCCEEDED")


def test_the_wait_is_limited(cluster: Cluster, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "PATIENCE_SECONDS", 0.05)
    stand_in.refuse = {"/runs/run-1": 503}
    with pytest.raises(ClusterError, match=r"rejected the request \(503\)"):
        wait(cluster)
    stand_in.refuse, stand_in.states = {}, ["RUNNING", "CANCELING"]
    with pytest.raises(ClusterError, match="was canceled and has not ended yet"):
        wait(cluster)


def test_cancelling(cluster: Cluster, stand_in: StandIn) -> None:
    stand_in.states = ["RUNNING"]
    said: list[str] = []
    cancel(cluster, "run-1", echo=said.append)
    assert "POST /apis/v2beta1/runs/run-1:terminate" in stand_in.asked
    with pytest.raises(ClusterError, match="ended as CANCELED"):
        wait(cluster)
    cancel(cluster, "run-1", echo=said.append)
    assert said == ["canceled; its pods are being stopped", "the run has already ended as CANCELED"]
    with pytest.raises(ClusterError, match="there is no run 'run-9'"):
        cancel(cluster, "run-9")


def test_logs_through_the_server(cluster: Cluster, stand_in: StandIn) -> None:
    stand_in.logs = {"pod-7": "epoch 1\nKilled\n", "pod-8": "epoch 1\nout of memory\n"}
    assert list(logs(cluster, "run-1", "train-classifier")) == ["epoch 1\nKilled\n", "epoch 1\nout of memory\n"]
    with pytest.raises(InputError, match="has no task 'train' yet; it has: ingest, train-classifier"):
        list(logs(cluster, "run-1", "train"))


def test_a_log_that_is_json_is_a_log(cluster: Cluster, stand_in: StandIn) -> None:
    line = '{"error": "no face in a.jpg", "code": 3}'
    stand_in.logs = {"pod-7": line, "pod-8": "{"}
    assert list(logs(cluster, "run-1", "train-classifier")) == [line, "{"]


WAITING = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}}
STARTING = {"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}
KILLED = {"name": "main", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
ENDED = {"name": "main", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
UNSCHEDULED = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: insufficient nvidia.com/gpu"}]


def pod(task: str, day: int, container: Any = None, conditions: Any = ()) -> Any:
    container = container and {**container, "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    return {
        "metadata": {
            "name": f"{task}-{day}",
            "creationTimestamp": f"2026-03-{day:02d}T12:00:00Z",
            "labels": {"app.kubernetes.io/component": task},
        },
        "status": {"conditions": list(conditions), "containerStatuses": [container] if container else []},
    }


def test_status_says_why_pods_wait_and_have_failed(
    cluster: Cluster, stand_in: StandIn, kubernetes: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = [
        pod("ingest", 1, ENDED),
        pod("train-classifier", 2, KILLED),
        pod("train-classifier", 1, WAITING),
        pod("evaluate", 1, WAITING),
        pod("predict", 1, None, UNSCHEDULED),
        pod("split", 1, STARTING),
    ]
    listed = {"apiVersion": "v1", "kind": "PodList", "items": pods}
    monkeypatch.setattr(kubernetes, "answer", lambda *_: listed)
    stand_in.states = ["FAILED"]
    stand_in.tasks = [
        task("ingest", "SUCCEEDED", 1),
        task("train-classifier", "FAILED", 2),
        task("evaluate", "RUNNING", 3),
        task("predict", "RUNNING", 4),
        task("split", "RUNNING", 5),
    ]
    assert [" ".join(line.split()) for line in list(status(cluster, "run-1"))[4:]] == [
        "ingest SUCCEEDED 0:01:01",
        "train-classifier FAILED 0:01:01: OOMKilled (exit code 137)",
        "evaluate RUNNING 0:01:01: ImagePullBackOff: no such tag",
        "predict RUNNING 0:01:01: not scheduled: 0/3 nodes: insufficient nvidia.com/gpu",
        "split RUNNING 0:01:01",
    ]
    with pytest.raises(ClusterError, match=r"failed: train-classifier \(OOMKilled \(exit code 137\)\)"):
        wait(cluster)


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """An API server on the loopback address that a kubeconfig names."""
    with serve(StandIn(tokens={""})) as state:
        kubeconfig = tmp_path / "config"
        kubeconfig.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{name: u, user: {}}]\n"
            f"clusters: [{{name: k, cluster: {{server: '{state.url}'}}}}]\n"
            "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
        )
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        yield state


def test_logs_that_only_kubernetes_has(
    cluster: Cluster, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    labels = "pipeline/runid=run-1,app.kubernetes.io/component=train-classifier"
    with pytest.raises(ClusterError) as caught:
        list(logs(cluster, "run-1", "train-classifier"))
    assert "this machine has no kubeconfig and is not a pod" in str(caught.value)
    assert str(caught.value).endswith(f"kubectl logs -n team-a -c main --tail=-1 -l {labels}")

    asked = []

    def answer(self: StandIn, method: str, path: str, query: dict[str, str], body: object) -> object:
        asked.append((path, query))
        if path.endswith("/log"):
            return f"from {path.split('/')[-2]}\n"
        pod = {"metadata": {"name": "faces-1-train", "namespace": "team-a"}}
        return {"apiVersion": "v1", "kind": "PodList", "items": [pod]}

    kubernetes = request.getfixturevalue("kubernetes")
    monkeypatch.setattr(kubernetes, "answer", answer.__get__(kubernetes))
    assert list(logs(cluster, "run-1", "train-classifier")) == ["from faces-1-train\n"]
    assert asked[0] == ("/api/v1/namespaces/team-a/pods", {"labelSelector": labels})
    assert asked[1] == ("/api/v1/namespaces/team-a/pods/faces-1-train/log", {"container": "main"})
