"""Graphs in other numbers than float32: static int8 for CPUs, float16 for GPUs."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from components.quantize.rewrite import named, prepare
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
"""What may be computed in int8, see `_float_nodes`. All else stays float32: the normalization, and softmax."""

_LAYERS = frozenset(
    ("AveragePool", "Conv", "Einsum", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "MatMul", "MaxPool", "ReduceMean")
)
"""Operators of the network itself: what follows the last of them makes probabilities of its numbers."""

_LEARNED = frozenset(("Conv", "Gemm", "MatMul"))
_PASSING = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))


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
    probabilities of `heads`, which are outputs, of the last layer's numbers stays float32, and so does that layer.
    """
    prepared = prepare(model)
    with tempfile.TemporaryDirectory(prefix="facet-int8-") as folder:
        file = Path(folder) / "model.onnx"
        with _quiet():  # it asks for a preprocessing that the exporter has done: batch norm is folded
            quantize_static(
                prepared,
                file,
                _Batches(faces),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(INT8_OPERATORS),
                nodes_to_exclude=_float_nodes(prepared.graph, heads),
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
    whole = named(model)
    behind = set(_probability_nodes(whole.graph, heads))
    network, rest = _parted(whole, behind)
    with _quiet():
        converted = OnnxModel(
            convert_float_to_float16(network, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, "Softmax"])
        )
        converted.remove_cascaded_cast_nodes()
    graph: onnx.ModelProto = converted.model
    graph.graph.node.extend(rest.node)
    graph.graph.initializer.extend(rest.initializer)
    del graph.graph.output[:]
    graph.graph.output.extend(rest.output)
    converted.topological_sort(is_deterministic=True)
    return graph


def _parted(model: onnx.ModelProto, behind: set[str]) -> tuple[onnx.ModelProto, onnx.GraphProto]:
    """Return a model without the nodes of these names, whose outputs are what they read; and those nodes.

    The second part has the outputs of the whole, and constants of its own.
    """
    network, rest = onnx.ModelProto(), onnx.GraphProto()
    network.CopyFrom(model)
    graph = network.graph
    rest.output.extend(graph.output)
    rest.node.extend(node for node in graph.node if node.name in behind)
    kept = [node for node in graph.node if node.name not in behind]
    del graph.node[:]
    graph.node.extend(kept)

    made = {name for node in kept for name in node.output}
    read = {name for node in rest.node for name in node.input}
    for tensor in graph.initializer:
        if tensor.name in read:
            rest.initializer.add().CopyFrom(tensor)
            rest.initializer[-1].name = f"{tensor.name}/behind"
    for node in rest.node:
        own = {tensor.name.removesuffix("/behind") for tensor in rest.initializer}
        node.input[:] = [f"{name}/behind" if name in own else name for name in node.input]
    used = {name for node in kept for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    outputs = [value for value in graph.output if value.name in made and value.name not in read]
    del graph.output[:]
    graph.output.extend(outputs)
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sorted(made & read))
    shapes = [value for value in graph.value_info if value.name in made - read]
    del graph.value_info[:]
    graph.value_info.extend(shapes)
    return network, rest


@contextmanager
def _quiet() -> Iterator[None]:
    """Let no library log less than an error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)


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


def _float_nodes(graph: onnx.GraphProto, heads: Sequence[str]) -> list[str]:
    """Return the names of the nodes that are quicker, or as quick and more exact, in float32.

    Those are the probabilities and the layer before them; convolutions with filters of one channel, and all that no
    layer in int8 feeds: the values would only be quantized for it.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    ends = set(_probability_nodes(graph, heads))
    last = {name for node in graph.node if node.name in ends for name in node.input} | set(heads)
    in_int8: set[str] = set()
    found = set(ends)
    for node in graph.node:
        if node.op_type in _LEARNED:
            before_ends = node.op_type != "Conv" and last & set(node.output)
            if before_ends or _of_one_channel(node, constants):
                found.add(node.name)
            else:
                in_int8.update(node.output)
        elif node.op_type in _PASSING or node.op_type in INT8_OPERATORS:
            if in_int8 & set(node.input):
                in_int8.update(node.output)
            else:
                found.add(node.name)
    return sorted(found)


def _of_one_channel(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Tell whether a node is a convolution of an image of one channel; a depthwise one reads many."""
    weights = constants.get(node.input[1]) if node.op_type == "Conv" else None
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return weights is not None and groups == 1 and weights.dims[1] == 1
