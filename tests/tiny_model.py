"""A tiny model file, and the model cards of the tests."""

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.runtime.card import METADATA_KEY

HEADS = {"mask": ("worn", "incorrect", "absent"), "gender": ("male", "female")}


def card_facts(**changes: Any) -> dict[str, Any]:
    """The entries of a classifier's card, ready to be changed."""
    return {
        "name": "tiny",
        "label_space": "all",
        "heads": [{"name": name, "labels": labels} for name, labels in HEADS.items()],
        "input": {"height": 40, "width": 32},
        "normalization": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]},
        "leaks": False,
        "versions": {"onnx": onnx.__version__},
        "dataset_digest": "0" * 64,
        "training_digest": "1" * 64,
    } | changes


def detection_facts(**changes: Any) -> dict[str, Any]:
    """The entries of a detector's card, ready to be changed."""
    shared = {
        name: value for name, value in card_facts().items() if name not in ("label_space", "heads", "normalization")
    }
    return shared | {"task": "detection", "labels": ["face"]} | changes


def build_model(
    card: dict[str, Any] | None = None,
    *,
    heads: dict[str, int] | None = None,
    shape: tuple[Any, ...] = ("N", 40, 32, 3),
    kind: int = TensorProto.UINT8,
    probabilities: bool = True,
    total: float = 1,
    seed: int = 7,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Build a small real graph: normalize, one convolution, pool, one linear layer and softmax per head.

    `total` is the sum of each head's probabilities, `seed` that of the weights.
    """
    card = card_facts() if card is None else card
    heads = {head["name"]: len(head["labels"]) for head in card["heads"]} if heads is None else heads
    random = np.random.default_rng(seed)
    weights = {
        "total": np.float32(total),
        "mean": 255 * np.array(card["normalization"]["mean"], np.float32),
        "std": 255 * np.array(card["normalization"]["std"], np.float32),
        "filters": random.normal(0, 0.5, (6, 3, 5, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "mean"], ["centered"]),
        helper.make_node("Div", ["centered", "std"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters"], ["maps"], strides=[3, 3]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    for name, labels in heads.items():
        weights[f"{name}.weight"] = random.normal(0, 1, (6, labels)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", ["features", f"{name}.weight"], [f"{name}.logits"]))
        nodes.append(helper.make_node("Softmax" if probabilities else "Exp", [f"{name}.logits"], [f"{name}.one"]))
        nodes.append(helper.make_node("Mul", [f"{name}.one", "total"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", labels)) for name, labels in heads.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(card)} if metadata is None else metadata)
    return model.SerializeToString()


def build_looking_model(region: tuple[slice, slice], *, features: bool = False, **facts: Any) -> bytes:
    """Build a graph that sees only one part of its input: `mask` is the more surely `worn`, the brighter that is.

    Args:
        region: the rows and columns that count.
        features: whether `features`, float32 (N, 3, 10, 8), the means of 4 by 4 pixels of what is seen, is an output.
        facts: changes of the card.
    """
    heads = [{"name": "mask", "labels": HEADS["mask"]}]
    card = card_facts(heads=heads, label_space="mask", **({"features": "features"} if features else {}), **facts)
    seen = np.zeros((40, 32, 1), np.float32)
    seen[region] = 1 / 255
    weights = {"seen": seen, "weight": np.zeros((3, 3), np.float32), "bias": np.array([-3, 1, 0], np.float32)}
    weights["weight"][:, 0] = 2 * seen.size / np.count_nonzero(seen)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "seen"], ["visible"]),
        helper.make_node("Transpose", ["visible"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["features"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["mask"]),
    ]
    outputs = [helper.make_tensor_value_info("mask", TensorProto.FLOAT, ("N", 3))]
    if features:
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ("N", 3, 10, 8)))
    graph = helper.make_graph(
        nodes,
        "looking",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ("N", 40, 32, 3))],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(card)})
    return model.SerializeToString()
