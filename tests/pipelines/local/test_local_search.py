"""A whole search on this machine: real KFP runner, real S3, real MLflow."""

import json
import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from small_sample import SMALL_TRAINING, put_small_sample

from components.shared.models.checkpoint import load_checkpoint
from components.shared.tracking.runs import PARENT
from pipelines.environment.settings import Settings
from pipelines.local import summary
from pipelines.local.run import Run, run
from pipelines.local.run_folder import OUTPUTS, outputs
from pipelines.local.stack import local_stack
from pipelines.parameters.search import SearchConfig

pytestmark = pytest.mark.slow

TINY = SearchConfig(
    space={"learning_rate": [0.01, 1e30], "optimizer": ["SGD", "AdamW"]},
    method="grid",
    label_space="mask",
    floors={"accuracy": 0.0},
    **SMALL_TRAINING,
)


@pytest.fixture(scope="module")
def result(home: Path) -> Run:
    put_small_sample(home, TINY.source)
    done = run(TINY, Settings.from_environment({"FACET_HOME": str(home)}), echo=lambda _: None)
    assert (done.failed, done.error) == ("", "")
    return done


def test_the_best_of_the_trials_is_trained_again_with_the_same_result(result: Run) -> None:
    written = json.loads((result.folder / "leaderboard" / OUTPUTS).read_text())
    metrics = written["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    assert metrics["trials"] == 4 and metrics["failed_trials"] >= 1
    ranked = outputs(result.folder, "leaderboard")
    best = int(ranked["best"]["number"])
    (trial,) = result.folder.glob(f"round-{best + 1}={best}/train-classifier*/checkpoints/best.pt")
    again = load_checkpoint(result.folder / "train-classifier-6" / "checkpoints" / "best.pt")
    assert again.metrics == load_checkpoint(trial).metrics
    assert again.metrics["val_f1"] == metrics["best_val_f1"]
    assert ranked["best"]["changes"]["learning_rate"] == 0.01


def test_trials_that_fail_leave_nothing_and_are_listed(result: Run) -> None:
    page = (result.folder / "leaderboard.html").read_text()
    assert "the loss is nan" in page
    (failed,) = result.folder.glob("round-3=2/train-classifier*")
    assert [path.name for path in failed.iterdir()] == ["executor_output.json"]


def test_the_best_model_is_registered_and_trials_are_child_runs(result: Run, home: Path) -> None:
    with local_stack(home) as stack:
        os.environ.update(stack.environment)
        client = MlflowClient()
        version = client.get_model_version_by_alias("faces", "champion")
        search = client.get_run(outputs(result.folder, "leaderboard")["run_id"])
        assert result.mlflow_run.endswith(search.info.run_id)
        runs = client.search_runs([search.info.experiment_id])
    below = {one.info.run_name for one in runs if one.data.tags.get(PARENT) == search.info.run_id}
    assert {f"trial {number}" for number in (0, 1)} <= below
    (trained,) = [one for one in runs if one.info.run_id == version.run_id]
    assert trained.data.params["config.learning_rate"] == "0.01"
    assert trained.data.metrics["Test/accuracy"] >= 0


def test_the_summary_names_the_best_configuration_and_the_leaderboard(result: Run) -> None:
    said = "\n".join(summary.success(result, TINY))
    assert "  learning_rate: 0.01\n" in said
    assert f"leaderboard    {result.folder / 'leaderboard.html'}" in said
    assert "model          faces, version 1 (candidate and champion)" in said
