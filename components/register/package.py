"""A model file as a version of the registry: its tags, and a folder that MLflow's own tools load."""

from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.register.page import Details, EvaluationFacts, model_page, read_details
from components.register.versions import Candidate
from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import Predictions, read_predictions
from serving.runtime.card import INPUT_NAME, ClassificationCard, DetectionCard, ModelCard
from serving.runtime.errors import InputError
from serving.runtime.load import open_model
from serving.runtime.reference import BRIGHTNESS, FACE_SIDE, REFERENCE_FILE, HeadReference, Histogram, Reference
from serving.runtime.registry import MODEL_FILE, fetch_model

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

_TYPES = {"classification": "classifier", "detection": "detector"}


def open_candidate(
    model: Path,
    metrics: Mapping[str, float],
    predictions: Path | None = None,
    *,
    floors: Mapping[str, float] | None = None,
    details: Path | None = None,
) -> Candidate:
    """Read an exported model, a folder or the file, and check that it can be served.

    Args:
        model: folder with `model.onnx`, or the file itself.
        metrics: scalar metrics by name.
        predictions: those of the model's test split; the version of a classifier then says what it saw there.
        floors: lowest accepted value by metric, for the page of the model.
        details: folder that evaluate wrote, for the page of the model.

    Raises:
        InputError: it is not a model that can be served, or the predictions are not those of a model like it.
        StorageError: there is none.
    """
    content = fetch_model(str(model)).content
    card = open_model(content, source=str(model)).card
    assert isinstance(card, ClassificationCard | DetectionCard), card.task
    table = read_predictions(predictions) if predictions else None
    reference = _reference(predictions, table, card) if predictions and table else None
    write = partial(package, content, card, reference)
    facts = EvaluationFacts(metrics, floors or {}, table, read_details(details) if details else Details())
    page = partial(model_page, card, facts)
    return Candidate(MODEL_FILE, content, _TYPES[card.task], write, _tags(card), page, metrics)


def _reference(predictions: Path, table: Predictions | Detections, card: ModelCard) -> Reference | None:
    """Return what a classifier saw on its test split; of a detector nothing is kept."""
    if isinstance(table, Detections):
        if not isinstance(card, DetectionCard) or table.labels != card.labels:
            raise InputError(f"{predictions}: predictions of a detector of {', '.join(table.labels)}, not of the model")
        return None
    if not isinstance(card, ClassificationCard) or table.space.heads != card.heads:
        raise InputError(f"{predictions}: predictions of label space '{table.space.name}', which is not the model's")
    levels = [face.brightness for face in table.faces if face.brightness is not None]
    sides = [(face.box[2] * face.box[3]) ** 0.5 for face in table.faces if face.box]
    return Reference(
        brightness=Histogram.of(levels, BRIGHTNESS) if levels else None,
        face_side=Histogram.of(sides, FACE_SIDE) if sides else None,
        heads={head.name: HeadReference.of(head.labels, table.heads[head.name]) for head in table.space.heads},
    )


def _tags(card: ModelCard) -> dict[str, str]:
    tags = {
        "dataset_digest": card.dataset_digest,
        "training_digest": card.training_digest,
        "input": f"{card.input.height}x{card.input.width}",
        "leaks": str(card.leaks).lower(),
    }
    if card.label_space is not None:
        tags["label_space"] = card.label_space
    return tags


def package(
    content: bytes, card: ModelCard, reference: Reference | None, folder: Path, logged: "LoggedModel", run_id: str
) -> None:
    """Write the folder of a model that `mlflow.onnx` and `mlflow.pyfunc` load, with `content` as the model file.

    What is known of the test split goes beside it.

    MLflow parses the graph and serializes it again, which may order its bytes differently, so its file is replaced.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    mlflow.onnx.save_model(
        onnx.load_from_string(content),
        folder,
        mlflow_model=Model(
            artifact_path=logged.artifact_location, model_uuid=logged.model_id, model_id=logged.model_id, run_id=run_id
        ),
        signature=_signature(card),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in ("onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    (folder / MODEL_FILE).write_bytes(content)
    if reference is not None:
        (folder / REFERENCE_FILE).write_text(reference.model_dump_json(indent=2) + "\n")


def _signature(card: ModelCard) -> "ModelSignature":
    """Return uint8 (-1, height, width, 3) RGB as input and the card's float32 outputs."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    shape = (-1, card.input.height, card.input.width, 3)
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, *(axis or -1 for axis in axes)), name)
        for name, axes in card.outputs.items()
    ]
    return ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), shape, INPUT_NAME)]), Schema(outputs))
