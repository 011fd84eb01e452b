"""Runs on the cluster: their state, waiting through faults, cancelling, logs."""

import threading
import time
from collections.abc import Callable
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
        task("root-driver", "SUCCEEDED", 0),
        task("train-classifier", "FAILED", 2, "out of memory", ("pod-7", "pod-8")),
        task("train-classifier-driver", "SUCCEEDED", 2),
        task("executor", "FAILED", 2),
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


def test_logs_that_only_kubernetes_has(
    cluster: Cluster, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    labels = "pipeline/runid=run-1,app.kubernetes.io/component=train-classifier"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
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

    with serve(StandIn(tokens={""})) as kubernetes:
        monkeypatch.setattr(kubernetes, "answer", answer.__get__(kubernetes))
        kubeconfig = tmp_path / "config"
        kubeconfig.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{name: u, user: {}}]\n"
            f"clusters: [{{name: k, cluster: {{server: '{kubernetes.url}'}}}}]\n"
            "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
        )
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        assert list(logs(cluster, "run-1", "train-classifier")) == ["from faces-1-train\n"]
    assert asked[0] == ("/api/v1/namespaces/team-a/pods", {"labelSelector": labels})
    assert asked[1] == ("/api/v1/namespaces/team-a/pods/faces-1-train/log", {"container": "main"})
