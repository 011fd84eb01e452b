"""The parameters of batch prediction, and what its tasks get of each other."""

from pathlib import Path

import pytest
from ir_tasks import artifacts, read
from tiny_model import build_model

from pipelines.parameters.addresses import check_addresses, require_model
from pipelines.parameters.batch_prediction import BatchPredictionConfig
from serving.runtime.errors import InputError


def test_views_are_checked_before_anything_starts() -> None:
    assert list(BatchPredictionConfig(tta=["flip", "scale:1.1"]).problems(set())) == []
    (problem,) = BatchPredictionConfig(tta=["true"]).problems(set())
    assert problem.path == ("tta",) and "unknown view 'true'" in str(problem)


def test_one_address_is_a_list_of_one() -> None:
    assert BatchPredictionConfig.model_validate({"models": "models:/a@b"}).models == ["models:/a@b"]


def test_what_is_no_model_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(build_model())
    (tmp_path / "folds/fold=0").mkdir(parents=True)
    (tmp_path / "folds/fold=0/model.onnx").write_bytes(build_model())
    (tmp_path / "photos").mkdir()
    (tmp_path / "text.onnx").write_text("no model")
    names = ["model.onnx", "folds", "none", "photos", "text.onnx"]
    config = BatchPredictionConfig(models=[str(tmp_path / name) for name in names])
    with pytest.raises(InputError) as caught:
        check_addresses(config.addresses(), on_cluster=False, echo=print)
    lines = str(caught.value).splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["models.2", "models.3", "models.4"]
    assert "does not exist" in lines[0] and "expected model.onnx" in lines[1] and "text.onnx: " in lines[2]


def test_a_champion_that_is_not_there_yet_is_said_so(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    with pytest.raises(InputError, match="no registered model 'nobody'.*register one first: a run of a pipeline that"):
        require_model("models:/nobody@champion")


def test_every_shard_is_gathered_and_none_is_cached() -> None:
    spec, tasks = read("batch_prediction")
    gathered = artifacts(tasks["gather-predictions"])
    (loop,) = [name for name, task in tasks.items() if "parameterIterator" in task]
    assert gathered["predictions"][0] == loop
    assert gathered["annotations"] == ("curate", "curated_annotations")
    body = spec["components"][tasks[loop]["componentRef"]["name"]]["dag"]["tasks"]
    for task in (body["predict-shard"], tasks["resolve-models"]):
        assert task.get("cachingOptions", {}).get("enableCache") is not True
    (passed,) = [name for name in tasks[loop]["inputs"]["parameters"] if "resolve-models" in name]
    models = body["predict-shard"]["inputs"]["parameters"]["models"]
    assert models == {"componentInputParameter": passed}, "an alias that moves meanwhile gives all shards one version"
