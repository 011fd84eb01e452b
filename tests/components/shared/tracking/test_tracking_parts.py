"""MLflow runs of several trainings of one job: each has curves of its own, as a child of one parent."""

from pathlib import Path

import pytest

from components.shared.tracking import server
from components.shared.tracking.runs import PARENT, open_run
from serving.runtime.errors import NotFoundError


def test_parts_are_children_of_the_run_in_the_environment(tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `mlflow run` the folds' curves do not lie upon each other."""
    client = server.mlflow_client()
    outer = client.create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", outer.info.run_id)
    for fold in range(2):
        with open_run("not made", run_name=f"fold {fold}", part=True) as run:
            run.metrics({"Val/loss": fold}, step=1)
        found = client.get_run(run.run_id)
        assert (found.info.run_name, found.info.status) == (f"fold {fold}", "FINISHED")
        assert found.data.tags[PARENT] == outer.info.run_id != run.run_id
        assert found.info.experiment_id == "0", "MLflow shows children in the experiment of their parent only"
        assert len(client.get_metric_history(run.run_id, "Val/loss")) == 1
    assert client.get_experiment_by_name("not made") is None
    assert client.get_run(outer.info.run_id).info.status == "RUNNING"
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    with pytest.raises(NotFoundError, match="no run 'abc'"), open_run("not made", part=True):
        raise AssertionError("the body must not start")


def test_finished_runs_become_children(tracking: str) -> None:
    children = []
    for fold in range(3):
        with open_run("folds", run_name=f"fold {fold}", part=True) as run:
            children.append(run.run_id)
    client = server.mlflow_client()
    assert not any(PARENT in client.get_run(run_id).data.tags for run_id in children)
    with open_run("folds", run_name="all") as parent:
        parent.adopt([*children[:2], ""])
    found = [client.get_run(run_id) for run_id in children]
    assert [run.data.tags.get(PARENT) for run in found] == [parent.run_id, parent.run_id, None]
    assert {run.info.status for run in found} == {"FINISHED"}


def test_without_a_server_no_run_becomes_a_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_run("folds", part=True) as run:
        run.adopt(["x"])
    assert run.run_id == ""
