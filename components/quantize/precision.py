"""Graphs in other numbers than float32: static int8 for CPUs, float16 for GPUs."""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
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

_LAYERS = frozenset(
    ("AveragePool", "Conv", "Einsum", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "MatMul", "MaxPool", "ReduceMean")
)
"""Operators of the network itself: what follows the last of them makes probabilities of its numbers."""

_NORMALIZING = frozenset(("Add", "Cast", "Div", "Identity", "Mul", "Sub", "Transpose"))


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Faces as the graph takes them, one batch at a time."""

    def __init__(self, faces: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = (
            faces[start : start + _BATCH] for start in range(0, len(faces), _BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


def to_int8(model: onnx.ModelProto, heads: Sequence[str], faces: NDArray[np.uint8]) -> onnx.ModelProto:
    """Return a float32 graph with pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime computes in int8.

    Activations are unsigned with one range for each tensor, from the least to the largest value that `faces`, uint8
    (N, height, width, 3), give. Weights are signed and symmetric, with a scale for each output channel. What makes the
    probabilities of `heads`, which are outputs, of the last layer's numbers stays float32.
    """
    prepared = _named(model)
    _widen_normalization(prepared.graph)
    with tempfile.TemporaryDirectory(prefix="facet-int8-") as folder:
        file = Path(folder) / "model.onnx"
        with _quiet():  # it asks for a preprocessing that the exporter has done: batch norm is folded
            quantize_static(
                prepared,
                file,
                _Batches(faces),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(INT8_OPERATORS),
                nodes_to_exclude=_probability_nodes(prepared.graph, heads),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        return onnx.load(file)


def to_fp16(model: onnx.ModelProto, heads: Sequence[str]) -> onnx.ModelProto:
    """Return a float32 graph with weights and activations in float16.

    Its outputs stay float32, and so do softmax and all that makes the probabilities of `heads`, which are outputs, of
    the last layer's numbers: the logarithm of a small probability would be infinite.
    """
    prepared = _named(model)
    blocked = [*DEFAULT_OP_BLOCK_LIST, "Softmax"]
    converted = OnnxModel(
        convert_float_to_float16(
            prepared,
            keep_io_types=True,
            op_block_list=blocked,
            node_block_list=_probability_nodes(prepared.graph, heads),
        )
    )
    with _quiet():
        converted.remove_cascaded_cast_nodes()  # the probabilities would pass through float16
    converted.topological_sort(is_deterministic=True)
    graph: onnx.ModelProto = converted.model
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Let no library log less than an error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without metadata in which every node has a name of its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    names = Counter(node.name for node in copy.graph.node)
    for number, node in enumerate(copy.graph.node):
        if not node.name or names[node.name] > 1:
            node.name = f"{node.op_type}_{number}"
    return copy


def _probability_nodes(graph: onnx.GraphProto, heads: Sequence[str]) -> list[str]:
    """Return the names of the nodes between the last layer of the network and the heads."""
    made_by = {name: node for node in graph.node for name in node.output}
    found: dict[str, None] = {}
    rest = [made_by[name] for name in heads]
    while rest:
        node = rest.pop()
        if node.op_type in _LAYERS or node.name in found:
            continue
        found[node.name] = None
        rest += [made_by[name] for name in node.input if name in made_by]
    return sorted(found)


def _widen_normalization(graph: onnx.GraphProto) -> None:
    """Make mean and deviation of the three channels rows as wide as the input.

    ONNX Runtime computes an int8 graph with the channels last. There it broadcasts three numbers to an image slowly,
    which takes an eighth of a ResNet-18's time, and rows of them quickly.
    """
    width = graph.input[0].type.tensor_type.shape.dim[2].dim_value
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    of_pixels = {graph.input[0].name}
    widened = set()
    for node in graph.node:  # in topological order
        if node.op_type not in _NORMALIZING or not of_pixels & set(node.input):
            continue
        of_pixels.update(node.output)
        for tensor in _constants_of(node, constants):
            if width and tuple(tensor.dims[-3:]) == (3, 1, 1) and readers[tensor.name] == 1:
                values = np.repeat(numpy_helper.to_array(tensor), width, axis=-1)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                widened.add(tensor.name)
    shapes = [value for value in graph.value_info if value.name not in widened]
    del graph.value_info[:]
    graph.value_info.extend(shapes)


def _constants_of(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> Iterable[onnx.TensorProto]:
    return (constants[name] for name in node.input if name in constants)
