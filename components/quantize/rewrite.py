"""Changes of a float32 graph that keep what it computes and let ONNX Runtime compute more of it quickly in int8."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_NORMALIZING = frozenset(("Add", "Cast", "Div", "Identity", "Mul", "Sub", "Transpose"))
_HALF = [2, 2]
_RESERVED = ("_ReduceMin", "_ReduceMax")  # how the values end that onnxruntime's calibration adds


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without metadata, every node with a name of its own, with all changes of this module."""
    copy = named(model)
    free_names(copy.graph)
    drop_padding_by_nothing(copy.graph)
    merge_pooling(copy)
    widen_normalization(copy.graph)
    return copy


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without metadata in which every node has a name of its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    names = Counter(node.name for node in copy.graph.node)
    for number, node in enumerate(copy.graph.node):
        if not node.name or names[node.name] > 1:
            node.name = f"{node.op_type}_{number}"
    return copy


def free_names(graph: onnx.GraphProto) -> None:
    """Rename the values between nodes that have names which onnxruntime's calibration gives to its own."""
    kept = {value.name for value in graph.output}
    names = [name for node in graph.node for name in node.output if name.endswith(_RESERVED) and name not in kept]
    changed = {name: f"{name}_value" for name in names}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [changed.get(name, name) for name in values]
    _keep(graph, list(graph.node))


def drop_padding_by_nothing(graph: onnx.GraphProto) -> None:
    """Remove nodes that pad by zero pixels, as an exporter leaves them where a size is even; each copies an image."""
    constants = _constants(graph)
    outputs = {value.name for value in graph.output}
    replaced: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = replaced.get(name, name)
        amounts = constants.get(node.input[1]) if node.op_type == "Pad" else None
        if amounts is not None and not numpy_helper.to_array(amounts).any() and node.output[0] not in outputs:
            replaced[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    _keep(graph, kept)


def merge_pooling(model: onnx.ModelProto) -> None:
    """Make one convolution of 2x2 of an average over 2x2 pixels and the 1x1 convolution that alone reads it.

    A ResNet's shortcuts may begin so. In int8 the average takes longer than in float32, and rounds once more.
    """
    graph = model.graph
    shapes = _shapes(model)
    constants, readers = _constants(graph), _readers(graph)
    by_input = {name: node for node in graph.node for name in node.input[:1]}
    kept = []
    for node in graph.node:
        convolution = by_input.get(node.output[0])
        alone = readers[node.output[0]] == 1
        if convolution is None or not alone or not _halves(node, shapes) or not _one_by_one(convolution, constants):
            kept.append(node)
            continue
        weights = constants[convolution.input[1]]
        if readers[weights.name] > 1:
            kept.append(node)
            continue
        values = numpy_helper.to_array(weights)
        quarter = np.repeat(np.repeat(values / 4, 2, axis=2), 2, axis=3).astype(values.dtype)
        weights.CopyFrom(numpy_helper.from_array(quarter, weights.name))
        convolution.input[0] = node.input[0]
        attributes = [one for one in convolution.attribute if one.name not in ("kernel_shape", "strides")]
        del convolution.attribute[:]
        convolution.attribute.extend(
            [*attributes, helper.make_attribute("kernel_shape", _HALF), helper.make_attribute("strides", _HALF)]
        )
    _keep(graph, kept)


def widen_normalization(graph: onnx.GraphProto) -> None:
    """Make mean and deviation of the three channels rows as wide as the input.

    ONNX Runtime computes an int8 graph with the channels last. There it broadcasts three numbers to an image slowly,
    which takes an eighth of a ResNet-18's time, and rows of them quickly.
    """
    width = graph.input[0].type.tensor_type.shape.dim[2].dim_value
    constants, readers = _constants(graph), _readers(graph)
    of_pixels = {graph.input[0].name}
    for node in graph.node:  # in topological order
        if node.op_type not in _NORMALIZING or not of_pixels & set(node.input):
            continue
        of_pixels.update(node.output)
        for name in node.input:
            tensor = constants.get(name)
            if tensor is not None and width and tuple(tensor.dims[-3:]) == (3, 1, 1) and readers[name] == 1:
                values = np.repeat(numpy_helper.to_array(tensor), width, axis=-1)
                tensor.CopyFrom(numpy_helper.from_array(values, name))
    _keep(graph, list(graph.node))


def _halves(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> bool:
    """Tell whether a node averages 2x2 pixels of an image with even sides."""
    if node.op_type != "AveragePool":
        return False
    values = _attributes(node)
    sides = shapes.get(node.input[0], [1, 1, 1, 1])[2:]
    return (
        values.get("kernel_shape") == _HALF
        and values.get("strides") == _HALF
        and not any(values.get("pads", ()))
        and values.get("auto_pad", b"NOTSET") == b"NOTSET"
        and all(side and side % 2 == 0 for side in sides)
    )


def _one_by_one(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Conv" or node.input[1] not in constants:
        return False
    values = _attributes(node)
    return (
        tuple(constants[node.input[1]].dims[2:]) == (1, 1)
        and values.get("strides", [1, 1]) == [1, 1]
        and values.get("group", 1) == 1
        and not any(values.get("pads", ()))
    )


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _readers(graph: onnx.GraphProto) -> Counter[str]:
    """How many nodes and outputs read each value."""
    return Counter([*(name for node in graph.node for name in node.input), *(value.name for value in graph.output)])


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of the values between the nodes; 0 for a side that is not fixed."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in [*inferred.value_info, *inferred.input]
    }


def _keep(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Leave these nodes, what they read, and the recorded shapes of what they give."""
    nodes = [*nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    given = {name for node in nodes for name in node.output}
    shapes = [value for value in graph.value_info if value.name in given]
    del graph.value_info[:]
    graph.value_info.extend(shapes)
    readers = _readers(graph)
    constants = [tensor for tensor in graph.initializer if readers[tensor.name]]
    del graph.initializer[:]
    graph.initializer.extend(constants)
