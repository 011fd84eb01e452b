"""From a torch module to an ONNX graph."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch

from components.shared.models.graph_file import clear
from serving.runtime.card import INPUT_NAME


def trace(
    module: torch.nn.Module, example: torch.Tensor, outputs: Sequence[str], free: Mapping[int, Any]
) -> onnx.ModelProto:
    """Trace a module of one input, named `images`, into a graph without names of source files or Python objects.

    Args:
        module: what is traced; its parameter is called `images`.
        example: an input.
        outputs: names of the outputs.
        free: the axes of the input that are free, each with its `torch.export.Dim`.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter reports each of its passes
    try:
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[INPUT_NAME],
            output_names=list(outputs),
            dynamic_shapes={"images": dict(free)},
        )
    finally:
        logging.disable(disabled)
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    clear(model)
    assert not model.functions
    return model
