"""An exported model as an MLflow model folder."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.runtime.card import INPUT_NAME, ModelCard
from serving.runtime.registry import MODEL_FILE

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature


def package(content: bytes, card: ModelCard, folder: Path, logged: "LoggedModel", run_id: str) -> None:
    """Write the folder that `mlflow.onnx` and `mlflow.pyfunc` load, with `content` as the model file.

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
        pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime")],
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
