"""A model file that can be registered, made in no time."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from components.shared.dataset.label_spaces import label_space
from serving.runtime.card import METADATA_KEY, ClassificationCard, InputSize, Normalization

DIGEST = "d" * 64


def write_model(folder: Path, seed: int = 0) -> Path:
    """A model that looks at the mean color: uint8 (N, 16, 12, 3) to three mask states."""
    space = label_space("mask")
    card = ClassificationCard(
        name="tiny",
        label_space="mask",
        heads=space.heads,
        input=InputSize(height=16, width=12),
        normalization=Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        leaks=False,
        versions={},
        dataset_digest=DIGEST,
        training_digest="e" * 64,
    )
    weights = np.random.default_rng(seed).normal(size=(3, 3)).astype(np.float32) / 20
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["color"], keepdims=0),
            helper.make_node("MatMul", ["color", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["mask"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 16, 12, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 3])],
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
