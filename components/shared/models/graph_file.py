"""The file of an exported graph: without what tells how or where it was made, with its model card and its seal."""

from typing import Any

import onnx

from serving.runtime.card import ClassificationCard, DetectionCard
from serving.runtime.seal import SEAL_KEY, ZEROS, sealed


def clear(model: onnx.ModelProto) -> None:
    """Remove the fields into which torch's exporter writes absolute source paths and stack traces."""
    graph = model.graph
    items: list[Any] = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for item in items:
        del item.metadata_props[:]
        item.doc_string = ""


def graph_file(model: onnx.ModelProto, card: ClassificationCard | DetectionCard) -> bytes:
    """Return the model file of a graph, the same bytes for the same graph and card.

    `model` is changed: it is cleared, and its metadata becomes the card and the seal.

    Raises onnx.checker.ValidationError or onnx.shape_inference.InferenceError for a graph that is not valid.
    """
    clear(model)
    for key, value in {**card.to_metadata(), SEAL_KEY: ZEROS}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    return sealed(model.SerializeToString(deterministic=True))
