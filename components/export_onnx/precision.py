"""Graphs in other numbers than float32: static int8 for CPUs, float16 for GPUs."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from serving.runtime.card import INPUT_NAME

_BATCH = 8

INT8_OPERATORS = (
    "Add",
    "AveragePool",
    "Concat",
    "Conv",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Sigmoid",
)
"""What is computed in int8. All else stays float32: the normalization, and softmax, so that probabilities sum to 1."""


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Faces as the graph takes them, one batch at a time."""

    def __init__(self, faces: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = (
            faces[start : start + _BATCH] for start in range(0, len(faces), _BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


def to_int8(model: onnx.ModelProto, faces: NDArray[np.uint8]) -> onnx.ModelProto:
    """Return a float32 graph with pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime computes in int8.

    Activations are unsigned with one range for each tensor, from the least to the largest value that `faces`, uint8
    (N, height, width, 3), give. Weights are signed and symmetric, with a scale for each output channel.
    """
    with tempfile.TemporaryDirectory(prefix="facet-int8-") as folder:
        file = Path(folder) / "model.onnx"
        logging.disable(logging.WARNING)  # it asks for a preprocessing that the exporter has done: batch norm is folded
        try:
            quantize_static(
                model,
                file,
                _Batches(faces),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(INT8_OPERATORS),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(file)


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 graph with weights and activations in float16; its outputs and softmax stay float32."""
    blocked = [*DEFAULT_OP_BLOCK_LIST, "Softmax"]
    converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked))
    converted.remove_cascaded_cast_nodes()  # the probabilities would pass through float16
    converted.topological_sort(is_deterministic=True)
    graph: onnx.ModelProto = converted.model
    return graph
