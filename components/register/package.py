"""An exported model as an MLflow model folder."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.runtime.card import INPUT_NAME, ModelCard

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature


def package(file: Path, card: ModelCard, folder: Path, logged: "LoggedModel", run_id: str) -> None:
    """Write the folder that `mlflow.onnx` and `mlflow.pyfunc` load, with the bytes of `file` as they are.

    MLflow parses the graph and writes it anew, which may order its bytes differently, so the
    exported file is put in that place afterwards.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    mlflow.onnx.save_model(
        onnx.load(file),
        folder,
        mlflow_model=Model(
            artifact_path=logged.artifact_location, model_uuid=logged.model_id, model_id=logged.model_id, run_id=run_id
        ),
        signature=_signature(card),
        pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    shutil.copyfile(file, folder / "model.onnx")


def _signature(card: ModelCard) -> "ModelSignature":
    """uint8 (-1, height, width, 3) RGB in, float32 (-1, K) per head out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    shape = (-1, card.input.height, card.input.width, 3)
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, len(head.labels)), head.name) for head in card.heads
    ]
    return ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), shape, INPUT_NAME)]), Schema(outputs))
