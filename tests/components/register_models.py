"""A model file that can be registered and predictions that can be evaluated, made in no time."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from components.shared.tracking import server
from serving.runtime.card import METADATA_KEY, ClassificationCard, InputSize, Normalization

DIGEST = "d" * 64


def write_model(folder: Path, seed: int = 0, weights: NDArray[np.float32] | None = None, **changes: Any) -> Path:
    """A model that looks at the mean color: uint8 (N, 16, 12, 3) to three classes; `changes` are of its card.

    `weights`, (3, 3), turn red, green and blue into logits; without, they are drawn.
    """
    space = label_space(changes.pop("label_space", "mask"))
    card = ClassificationCard(
        name="tiny",
        label_space=space.name,
        heads=space.heads,
        input=InputSize(height=16, width=12),
        normalization=Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        **({"leaks": False, "versions": {}, "dataset_digest": DIGEST, "training_digest": "e" * 64} | changes),
    )
    (head,) = space.heads
    if weights is None:
        weights = np.random.default_rng(seed).normal(size=(3, 3)).astype(np.float32) / 20
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["color"], keepdims=0),
            helper.make_node("MatMul", ["color", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [head.name], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 16, 12, 3])],
        [helper.make_tensor_value_info(head.name, TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]), onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: card.model_dump_json()})
    folder.mkdir(parents=True)
    # Field order that no serializer would choose: metadata first, the rest after it.
    first = onnx.ModelProto(metadata_props=model.metadata_props)
    model.ClearField("metadata_props")
    (folder / "model.onnx").write_bytes(first.SerializeToString() + model.SerializeToString())
    return folder


def write_predicted(folder: Path) -> tuple[Path, Path]:
    """Predictions of four male faces, one of them wrong, and their annotations."""
    images = tuple(Image(i, f"{i}.jpg", 9, 9, (Face(i, None, {"gender": "male"}),), split="test") for i in range(1, 5))
    write_annotations(Annotations(images), folder / "a.json")
    faces = tuple(PredictedFace(i, i, f"{i}.jpg", None) for i in range(1, 5))
    values = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]], np.float32)
    write_predictions(Predictions(faces, {"gender": values}, label_space("gender"), "m", "v"), folder / "p.csv")
    return folder / "p.csv", folder / "a.json"


class Killed(BaseException):
    """The process ends here."""


def kill_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """End the process after so many calls of MLflow."""
    original, left = server.patiently, calls

    def killed_after(call: Any) -> Any:
        nonlocal left
        answer = original(call)
        left -= 1
        if not left:
            raise Killed
        return answer

    patch.setattr(server, "patiently", killed_after)
