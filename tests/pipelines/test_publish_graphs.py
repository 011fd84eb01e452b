"""What becomes of a trained classifier, in the IR: calibrated, evaluated, registered, compared with the champion."""

import pytest
from ir_tasks import artifacts, before, branch, parameters, read

from pipelines.catalog import PIPELINES

NAMES = ["classification", "classification_faces", "search", "search_faces"]


def test_what_is_evaluated_and_registered_is_the_calibrated_model() -> None:
    _, tasks = read("classification")
    data = {"images": ("ingest", "images"), "annotations": ("split", "split_annotations")}
    assert parameters(tasks["predict"]) == {"split": "val", "may_be_empty": True}
    assert artifacts(tasks["predict"]) == data | {"model": ("export-onnx", "model")}
    assert artifacts(tasks["calibrate"]) == {
        "model": ("export-onnx", "model"), "predictions": ("predict", "predictions"),
        "annotations": data["annotations"],
    }  # fmt: skip
    test = {"model": ("calibrate", "calibrated"), "predictions": ("predict-2", "predictions")}
    assert artifacts(tasks["predict-2"]) == data | {"model": test["model"]}
    assert artifacts(tasks["evaluate"]) == artifacts(tasks["promote"]) == data | test
    assert artifacts(tasks["register"]) == test | {"details": ("evaluate", "details")}
    assert {parameters(tasks[task])["floors"] for task in ("evaluate", "register")} == {"floors"}
    assert parameters(tasks["promote"])["floors_hold"] == ("evaluate", "Output")
    run_ids = {parameters(tasks[task])["run_id"] for task in ("calibrate", "evaluate", "register", "promote")}
    assert run_ids == {("train-classifier", "run_id")}


@pytest.mark.parametrize("name", NAMES)
def test_another_precision_is_the_only_condition(name: str) -> None:
    """It is evaluated, registered and promoted as the model that it is made of, under a name of its own."""
    spec, tasks = read(name)
    condition, inner = branch(spec, tasks)
    asked = "inputs.parameter_values['pipelinechannel--precision'] != 'fp32'"
    assert condition["triggerPolicy"] == {"condition": asked}
    assert set(inner) == {"quantize", "predict-3", "evaluate-2", "register-2", "promote-2"}
    made = ("quantize", "quantized")
    assert inner["quantize"]["model"] == ("calibrate", "calibrated")
    assert {inner[task]["model"] for task in ("predict-3", "evaluate-2", "register-2", "promote-2")} == {made}
    assert inner["evaluate-2"]["others_hold"] == ("quantize", "Output"), "worse than max_f1_drop, and it is no champion"
    assert inner["evaluate-2"]["floors"] == "floors"
    for task in ("evaluate-2", "promote-2"):
        assert "run_id" not in inner[task], "the run keeps the metrics of the model that it trained"
    assert inner["promote-2"]["floors_hold"] == ("evaluate-2", "Output")
    channels = ("pipelinechannel--model_name", "pipelinechannel--precision")
    named = "_".join(f"{{{{$.inputs.parameters['{channel}']}}}}" for channel in channels)
    assert inner["register-2"]["name"] == inner["promote-2"]["name"] == named
    skipped = next(title for title, task in tasks.items() if task is condition)
    assert not any(skipped in task.get("dependentTasks", []) for task in tasks.values()), "it may be skipped"
    assert "composite" not in inner["register-2"] and "composite" not in inner["promote-2"]


@pytest.mark.parametrize("name", NAMES)
def test_the_champion_is_the_last_thing_that_a_run_decides(name: str) -> None:
    """A run that ends before has made no champion: all others come before `promote`, or do not touch the registry."""
    spec, tasks = read(name)
    condition, _ = branch(spec, tasks)
    skipped = next(title for title, task in tasks.items() if task is condition)
    assert set(tasks) - before(tasks, "promote") == {"promote", "data-report", skipped}
    assert not any("promote" in task.get("dependentTasks", []) for task in tasks.values())


@pytest.mark.parametrize("name", ["cross_validation", "cross_validation_faces"])
def test_a_cross_validation_decides_nothing(name: str) -> None:
    spec, tasks = read(name)
    assert not any("triggerPolicy" in task for task in tasks.values())
    assert not {"comp-calibrate", "comp-quantize", "comp-register", "comp-promote"} & spec["components"].keys()


@pytest.mark.parametrize("name", PIPELINES)
def test_the_places_of_models_in_a_run_are_outputs_of_its_tasks(name: str) -> None:
    pipeline = PIPELINES[name]
    spec, tasks = read(name)
    if name.startswith("cross_validation"):
        (loop,) = [task for task in tasks.values() if task["taskInfo"]["name"] == "fold"]
        tasks = spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    for place in filter(None, (*pipeline.exported, pipeline.checkpoints)):
        task, output = place.split("/")
        component = spec["components"][tasks[task]["componentRef"]["name"]]
        assert output in component["outputDefinitions"]["artifacts"]
