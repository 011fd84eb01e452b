"""The graphs that train a detector: what feeds what, in the IR."""

from typing import Any

import pytest
from ir_tasks import artifacts, before, branch, parameters, read

from pipelines.catalog import PIPELINES, WITH_YOLO

TRAININGS = {"emotion": "train-classifier", "emotion_yolo": "train-yolo-2"}


@pytest.fixture(scope="module", params=TRAININGS)
def emotion(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name of the task that trains the classifier, the IR, and its tasks."""
    return TRAININGS[request.param], *read(request.param)


def test_a_detector_is_trained_evaluated_and_registered() -> None:
    _, tasks = read("face_detection")
    split = ("split", "split_annotations")
    assert artifacts(tasks["train-yolo"]) == {"images": ("ingest", "images"), "annotations": split}
    given = parameters(tasks["train-yolo"])
    assert given["task"] == "detect" and given["name"] == "detector_name" and given["seed"] == "seed"
    assert {name: given[name] for name in ("label_space", "model", "epochs", "batch", "imgsz", "training")} == {
        **{name: f"detector_{name}" for name in ("label_space", "model", "epochs", "batch", "imgsz")},
        "training": "detector_options",
    }
    model = ("train-yolo", "exported")
    assert artifacts(tasks["predict"])["model"] == model
    judged = {
        "model": model, "predictions": ("predict", "predictions"), "images": ("ingest", "images"), "annotations": split,
    }  # fmt: skip
    assert artifacts(tasks["evaluate"]) == artifacts(tasks["promote"]) == judged
    assert parameters(tasks["evaluate"])["floors"] == "detector_floors"
    assert artifacts(tasks["register"]) == {
        "model": model, "predictions": ("predict", "predictions"), "details": ("evaluate", "details"),
    }  # fmt: skip
    for step in ("split", "data-report"):
        assert parameters(tasks[step])["label_space"] == "detector_label_space"
    assert parameters(tasks["promote"]) == {
        "name": "detector_name", "version": ("register", "version"), "floors_hold": ("evaluate", "Output"),
        "confidence": "promotion_confidence", "run_id": ("train-yolo", "run_id"),
    }  # fmt: skip
    assert not any("triggerPolicy" in task for task in tasks.values()), "nothing is skipped"


def test_one_split_serves_detector_and_classifier(emotion: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """What finds faces and what is trained on them have the split of the detector's training."""
    training, _, tasks = emotion
    split = ("split", "split_annotations")
    assert [name for name in tasks if name.startswith("split")] == ["split"]
    assert artifacts(tasks["train-yolo"])["annotations"] == split
    assert artifacts(tasks["choose-faces"])["annotations"] == split
    chosen = ("choose-faces", "detected_annotations")
    assert artifacts(tasks["crop-faces"])["annotations"] == chosen
    assert artifacts(tasks[training]) == {
        "images": ("ingest", "images"), "annotations": chosen, "crops": ("crop-faces", "crops"),
    }  # fmt: skip
    assert artifacts(tasks["evaluate"])["annotations"] == split
    for task in ("predict-2", "calibrate", "predict-3", "evaluate-2", "promote"):
        assert artifacts(tasks[task])["annotations"] == chosen, task


def test_the_trained_detector_finds_the_faces(emotion: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    training, _, tasks = emotion
    assert artifacts(tasks["adopt-detectors"]) == {"trained": ("train-yolo", "exported")}
    assert parameters(tasks["adopt-detectors"]) == {"chain": "detectors"}
    assert {"train-yolo", "adopt-detectors", "choose-faces"} <= before(tasks, training)
    assert parameters(tasks["train-yolo"])["run_name"] == "detector", "the MLflow run of the pipeline is the other one"


def test_what_of_the_trained_classifier_is_evaluated(emotion: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    training, _, tasks = emotion
    model = ("train-yolo-2", "exported") if training == "train-yolo-2" else ("export-onnx", "model")
    assert artifacts(tasks["predict-2"])["model"] == artifacts(tasks["calibrate"])["model"] == model
    for task in ("predict-3", "evaluate-2", "register-2", "promote"):
        assert artifacts(tasks[task])["model"] == ("calibrate", "calibrated"), task
    assert parameters(tasks["evaluate-2"])["run_id"] == (training, "run_id")
    if training == "train-yolo-2":
        given = parameters(tasks[training])
        assert (given["task"], given["imgsz"], given["batch"]) == ("classify", "image_height", "batch_size")


def test_both_are_registered_and_promoted_together(emotion: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Each is a candidate always; the floors of both decide about detector, classifier and composite at once."""
    training, spec, tasks = emotion
    given = parameters(tasks["register"])
    assert given["name"] == "detector_name" and given["run_id"] == ("train-yolo", "run_id")
    given = parameters(tasks["register-2"])
    assert given["composite"] == "composite"
    assert (given["detector"], given["detector_version"]) == ("detector_name", ("register", "version"))
    assert artifacts(tasks["register-2"])["detectors"] == ("adopt-detectors", "detectors")
    assert parameters(tasks["evaluate-2"])["others_hold"] == ("evaluate", "Output")
    assert "evaluate-2" not in before(tasks, "register") and not spec.get("conditions")
    assert parameters(tasks["promote"]) == {
        "name": "model_name", "version": ("register-2", "version"),
        "detector": "detector_name", "detector_version": ("register", "version"),
        "composite": "composite", "composite_version": ("register-2", "composite_version"),
        "floors_hold": ("evaluate-2", "Output"), "confidence": "promotion_confidence", "run_id": (training, "run_id"),
    }  # fmt: skip
    compared = {key: made for key, made in artifacts(tasks["promote"]).items() if key.startswith("detector_")}
    assert compared == {
        "detector_model": ("train-yolo", "exported"), "detector_predictions": ("predict", "predictions"),
        "detector_annotations": ("split", "split_annotations"),
    }  # fmt: skip


def test_another_precision_is_a_model_of_its_own(emotion: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """No composite has it as a member, and the detector has nothing to do with it."""
    _, spec, tasks = emotion
    _, inner = branch(spec, tasks)
    assert set(inner) == {"quantize", "predict-4", "evaluate-3", "register-3", "promote-2"}
    assert not {"composite", "detector", "detectors"} & (set(inner["register-3"]) | set(inner["promote-2"]))
    assert inner["evaluate-3"]["others_hold"] == ("quantize", "Output")


@pytest.mark.parametrize("name", ["face_detection", "emotion", "emotion_yolo"])
def test_ultralytics_runs_in_its_own_image_and_the_description_says_so(name: str) -> None:
    spec, _ = read(name)
    executors = spec["deploymentSpec"]["executors"]
    yolo = {key for key, one in executors.items() if one["container"]["image"].startswith("facet/yolo")}
    assert yolo == {key for key in executors if "train-yolo" in key} and yolo
    assert "AGPL-3.0" in spec["pipelineInfo"]["description"]


def test_the_variants_differ_in_the_training_of_the_classifier_only() -> None:
    (plain, variant), = WITH_YOLO.items()  # fmt: skip
    _, torch = read(plain)
    _, yolo = read(variant)
    assert torch.keys() - yolo.keys() == {"train-classifier", "export-onnx"}
    assert yolo.keys() - torch.keys() == {"train-yolo-2"}
    for name in (plain, variant):
        assert PIPELINES[name].mlflow_task == TRAININGS[name]
