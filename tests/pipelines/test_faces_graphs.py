"""The graphs that find faces: those without, and the steps of detection between curation and split."""

from typing import Any

import pytest

from pipelines.catalog import WITH_FACES
from pipelines.intermediate import committed, read_documents

DETECTION = {"adopt-detectors", "detection-shards", "choose-faces", "crop-faces"}


def root(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = read_documents(committed(name).read_text("utf-8"))[0]
    return spec, spec["root"]["dag"]["tasks"]


def producer(task: dict[str, Any], name: str) -> str:
    return str(task["inputs"]["artifacts"][name]["taskOutputArtifact"]["producerTask"])


@pytest.mark.parametrize("plain", WITH_FACES)
def test_detection_is_added_to_the_same_graph(plain: str) -> None:
    _, before = root(plain)
    spec, tasks = root(WITH_FACES[plain])
    loops = [name for name, task in tasks.items() if task.get("iteratorPolicy", task.get("parameterIterator"))]
    (shards,) = [
        name
        for name in loops
        if "detect-faces" in spec["components"][tasks[name]["componentRef"]["name"]]["dag"]["tasks"]
    ]
    assert len(tasks) == len(before) + len(DETECTION) + 1 and set(tasks) >= DETECTION
    assert tasks[shards]["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--detection-shards-Output"}
    assert (producer(tasks["choose-faces"], "detections"), producer(tasks["choose-faces"], "annotations")) == (
        shards,
        "curate",
    )
    split = "split-folds" if "split-folds" in tasks else "split"
    assert producer(tasks[split], "annotations") == "choose-faces"
    dags = [spec["components"][tasks[name]["componentRef"]["name"]]["dag"]["tasks"] for name in loops]
    inner = [task for dag in (tasks, *dags) for task in dag.values()]
    trainings = [task for task in inner if task["componentRef"]["name"].startswith("comp-train-classifier")]
    assert trainings and all("crops" in task["inputs"]["artifacts"] for task in trainings)
    assert spec["pipelineInfo"]["description"].startswith("Find the faces in raw photos. ")


def test_a_change_of_the_choice_leaves_the_detection_in_the_cache() -> None:
    """Each step gets only the part of `faces` that it depends on."""
    _, tasks = root("classification_faces")
    used = {
        name: {
            source.get("componentInputParameter")
            for source in task.get("inputs", {}).get("parameters", {}).values()
            if "componentInputParameter" in source
        }
        for name, task in tasks.items()
    }
    assert used["adopt-detectors"] == {"detectors"}
    assert used["choose-faces"] == {"choose_options"}
    assert used["crop-faces"] == {"crop", "crop_options"}
    assert used["detection-shards"] == {"images_per_shard"}
    (loop,) = [name for name in tasks if name.startswith("for-loop")]
    assert used[loop] == {"images_per_shard", "detect_options"}


@pytest.mark.parametrize("name", ["classification_faces", "search_faces"])
def test_detectors_and_classifier_are_registered_and_promoted_together(name: str) -> None:
    _, tasks = root(name)
    register = tasks["register"]
    assert producer(register, "detectors") == "adopt-detectors"
    for parameter in ("composite", "detect_options"):
        assert register["inputs"]["parameters"][parameter] == {"componentInputParameter": parameter}
    promote = tasks["promote"]["inputs"]["parameters"]
    assert promote["composite"] == {"componentInputParameter": "composite"}
    made = {"outputParameterKey": "composite_version", "producerTask": "register"}
    assert promote["composite_version"] == {"taskOutputParameter": made}
