"""The cross-validation pipeline: its graph, invalid configs, and a whole run on this machine."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from small_sample import SMALL_TRAINING, put_small_sample

from components.shared.dataset.annotations import read_annotations
from components.shared.tracking.runs import PARENT
from pipelines.command.config import resolve
from pipelines.environment.settings import Settings
from pipelines.intermediate import committed, read_documents
from pipelines.local import summary
from pipelines.local.run import Run, run
from pipelines.local.run_folder import outputs
from pipelines.local.stack import local_stack
from pipelines.parameters.cross_validation import CrossValidationConfig
from serving.runtime.errors import InputError
from serving.runtime.load import load_model
from serving.runtime.storage import Location

TINY = CrossValidationConfig(folds=3, label_space="mask", **{**SMALL_TRAINING, "epochs": 1})
IN_A_FOLD = ["take-fold", "train-classifier", "export-onnx", "predict", "evaluate"]


def test_the_graph() -> None:
    """Everything of a fold is in the loop over the folds; nothing is registered."""
    spec = read_documents(committed("cross_validation").read_text("utf-8"))[0]
    tasks = spec["root"]["dag"]["tasks"]
    (loop,) = [name for name, task in tasks.items() if "parameterIterator" in task]
    assert set(tasks) == {"ingest", "curate", "split-folds", loop, "evaluate-folds"}
    inner = spec["components"][f"comp-{loop}"]["dag"]["tasks"]
    assert set(inner) == set(IN_A_FOLD)
    assert tasks[loop]["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--split-folds-Output"}
    assert "iteratorPolicy" not in tasks[loop], "a cluster trains all folds at once"
    annotations = {"taskOutputArtifact": {"outputArtifactKey": "fold_annotations", "producerTask": "take-fold"}}
    for task in IN_A_FOLD[1:]:
        assert inner[task]["inputs"]["artifacts"].get("annotations", annotations) == annotations, "the fold is held out"
    cached = {name for name, task in {**tasks, **inner}.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached == {"curate", "split-folds", "evaluate-folds", *IN_A_FOLD}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (["k_index=5"], "--set: k_index = 5: there are 5 folds, 0 to 4, or -1 for all"),
        (["k_index=-2"], "--set: k_index = -2: Input should be greater than or equal to -1"),
        (["folds=1"], "--set: folds = 1: Input should be greater than or equal to 2"),
        (["folds=2"], "--set: folds = 2: nothing is left beside the folds for test and val"),
        (["floors={macro_f1: 1}"], "--set: floors = {'macro_f1': 1}: unknown key"),
        (["val_ratio=0.1"], "--set: val_ratio = 0.1: unknown key"),
        (["training.ema_decai=1"], "--set: training.ema_decai = 1: unknown key, did you mean 'ema_decay'?"),
    ],
)
def test_an_invalid_config_is_reported_before_anything_starts(parameters: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve("cross_validation", parameters, {})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "parameters", [["k_index=4"], ["folds=2", "checkpoint=last"], ["folds=2", "checkpoint=last", "k_index=1"]]
)
def test_valid_configs(parameters: list[str]) -> None:
    assert resolve("cross_validation", parameters, {}).pipeline == "cross_validation"


@pytest.fixture(scope="module")
def result(home: Path) -> Run:
    """All folds."""
    return run_tiny(home, TINY)


def run_tiny(home: Path, config: CrossValidationConfig) -> Run:
    settings = Settings.from_environment({"FACET_HOME": str(home)})
    put_small_sample(home, config.source)
    done = run(config, settings, name="cv", echo=lambda _: None)
    assert (done.failed, done.error) == ("", "")
    return done


def metrics_of(folder: Path, fold: int) -> dict[str, float]:
    found: dict[str, float] = json.loads(outputs(folder, f"fold={fold}/evaluate")["metrics_json"])
    return found


@pytest.mark.slow
def test_every_fold_is_trained_evaluated_and_kept(result: Run) -> None:
    """A set of checkpoints, a model and a report for every fold, in the run's folder."""
    folds = [f"fold={fold}/{task}" for fold in range(3) for task in IN_A_FOLD]
    assert list(result.seconds) == ["ingest", "curate", "split-folds", *folds, "evaluate-folds"]
    models = set()
    for fold in range(3):
        folder = result.folder / f"fold={fold}"
        assert {"best.pt", "last.pt", "config.json"} <= {
            path.name for path in (folder / "train-classifier/checkpoints").iterdir()
        }
        models.add(load_model(str(folder / "export-onnx/model")).sha256)
        assert (folder / "report.html").read_bytes() == (folder / "evaluate/report").read_bytes()
    assert len(models) == 3, "every fold learned from other people"
    assert resolve(str(result.folder / "config.yaml"), (), {}) == TINY


@pytest.mark.slow
def test_every_person_is_tested_in_one_fold_by_a_model_trained_without_them(result: Run) -> None:
    seen: Counter[str] = Counter()
    for fold in range(3):
        images = read_annotations(result.folder / f"fold={fold}/take-fold/fold_annotations").images
        test = {image.person or "" for image in images if image.split == "test"}
        assert not test & {image.person for image in images if image.split in ("train", "val")}
        seen.update(test)
    assert len(seen) == 24 and set(seen.values()) == {1}


@pytest.mark.slow
def test_the_summary_has_mean_and_spread_of_the_folds(result: Run) -> None:
    lines = list(summary.success(result, TINY))
    assert lines[0].split() == ["mean", "std", "min", "max"]
    shown = {line.split()[0]: line.split()[1:] for line in lines[1:6]}
    by_fold = [metrics_of(result.folder, fold) for fold in range(3)]
    assert shown.keys() == by_fold[0].keys()
    for name, figures in shown.items():
        values = [metrics[name] for metrics in by_fold]
        expected = (np.mean(values), np.std(values, ddof=1), np.min(values), np.max(values))
        assert figures == [f"{value:.4f}" for value in expected]
    assert f"report         {result.folder / 'report.html'}" in lines
    assert f"fold=2         {result.folder / 'fold=2/export-onnx/model'}" in lines
    assert (result.folder / "report.html").read_bytes() == (result.folder / "evaluate-folds/report").read_bytes()


@pytest.mark.slow
def test_artifacts_and_runs_of_all_folds(home: Path, result: Run) -> None:
    """The folds are child runs of one run, each with its own curves."""
    with local_stack(home) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        assert Location("s3://pipelines/cv/fold=1/export-onnx/model/model.onnx").exists()
        client = MlflowClient()
        parent = client.get_run(result.mlflow_run.rpartition("/")[2])
        found: list[Any] = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT}` = '{parent.info.run_id}'")
        assert sorted(child.info.run_name for child in found) == ["fold 0", "fold 1", "fold 2"]
        for child in found:
            fold = int(child.info.run_name.rpartition(" ")[2])
            assert child.data.metrics["Test/macro_f1"] == pytest.approx(metrics_of(result.folder, fold)["macro_f1"])
            assert len(client.get_metric_history(child.info.run_id, "Val/loss")) == TINY.epochs
        mean = np.mean([metrics_of(result.folder, fold)["macro_f1"] for fold in range(3)])
        assert parent.data.metrics["Test/macro_f1_mean"] == pytest.approx(mean)
        assert parent.info.status == "FINISHED"


@pytest.mark.slow
def test_one_fold_is_the_same_graph_with_one_item(home: Path, result: Run) -> None:
    """`k_index` gives the same bytes for that fold as the run over all folds."""
    one = run_tiny(home, TINY.model_copy(update={"k_index": 1}))
    folds = [f"fold=1/{task}" for task in IN_A_FOLD]
    assert list(one.seconds) == ["ingest", "curate", "split-folds", *folds, "evaluate-folds"]
    for path in (
        "fold=1/take-fold/fold_annotations",
        "fold=1/export-onnx/model/model.onnx",
        "fold=1/predict/predictions",
    ):
        assert (one.folder / path).read_bytes() == (result.folder / path).read_bytes(), path
