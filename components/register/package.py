"""A model file as a version of the registry: its tags, and a folder that MLflow's own tools load."""

from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.register.versions import Candidate
from serving.runtime.card import INPUT_NAME, ClassificationCard, DetectionCard, ModelCard
from serving.runtime.load import open_model
from serving.runtime.registry import MODEL_FILE, fetch_model

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

_TYPES = {"classification": "classifier", "detection": "detector"}


def open_candidate(model: Path, metrics: Mapping[str, float]) -> Candidate:
    """Read an exported model, a folder or the file, and check that it can be served.

    Raises:
        InputError: it is not a model that can be served.
        StorageError: there is none.
    """
    content = fetch_model(str(model)).content
    card = open_model(content, source=str(model)).card
    assert isinstance(card, ClassificationCard | DetectionCard), card.task
    return Candidate(MODEL_FILE, content, _TYPES[card.task], partial(package, content, card), _tags(card), metrics)


def _tags(card: ModelCard) -> dict[str, str]:
    tags = {
        "dataset_digest": card.dataset_digest,
        "training_digest": card.training_digest,
        "input": f"{card.input.height}x{card.input.width}",
        "leaks": str(card.leaks).lower(),
    }
    if isinstance(card, ClassificationCard):
        tags["label_space"] = card.label_space
    return tags


def package(content: bytes, card: ModelCard, folder: Path, logged: "LoggedModel", run_id: str) -> None:
    """Write the folder of a model that `mlflow.onnx` and `mlflow.pyfunc` load, with `content` as the model file.

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
