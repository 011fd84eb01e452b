"""The last feature map of a network as an output of its graph."""

from collections import Counter
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from serving.runtime.card import INPUT_NAME
from serving.runtime.errors import InputError

FEATURES = "features"
"""The output: float32 (N, C, h, w)."""

_Shape = tuple[int | None, ...]


def add_features(model: onnx.ModelProto, heads: Sequence[str]) -> None:
    """Give a graph one output more: the last feature map before the network pools or flattens it.

    It is found from the heads back: through numbers without a place in the picture, as (N, F) and (N, C, 1, 1), to
    the maps, (N, C, h, w), that they are made of. Several of one size, as those of an ensemble's members, are
    concatenated; of several sizes the one with the most channels is taken.

    Args:
        model: a float32 graph; it is changed.
        heads: names of the outputs.

    Raises:
        InputError: the network has no such map, as a transformer that attends to tokens; or a head has the name.
    """
    if FEATURES in heads:
        raise InputError(f"features: a head is called '{FEATURES}', as the feature map is; leave the option out")
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: _shape(value) for value in (*inferred.value_info, *inferred.input, *inferred.output)}
    made_by = {name: node for node in graph.node for name in node.output}
    from_pixels = _from_pixels(graph)
    maps: dict[str, None] = {}
    looked_at, rest = set(heads), list(heads)
    while rest:
        for name in made_by[rest.pop()].input:
            if name not in from_pixels or name in looked_at:
                continue
            looked_at.add(name)
            shape = shapes.get(name)
            if shape is not None and len(shape) == 4 and not _is_placeless(shape):
                maps[name] = None
            elif shape is None or name not in made_by or not _is_placeless(shape):
                raise InputError(
                    "features: the network has no feature map: what it makes the labels of has the shape "
                    f"{_text(shape)}, not (N, channels, height, width); leave the option out"
                )
            else:
                rest.append(name)
    channels: Counter[_Shape] = Counter()
    for name in maps:
        channels[shapes[name][2:]] += shapes[name][1] or 0
    size, total = max(channels.items(), key=lambda item: (item[1], item[0]))
    for node in graph.node:  # a value in the graph may have the output's name
        for names in (node.input, node.output):
            names[:] = [f"{FEATURES}_inside" if name == FEATURES else name for name in names]
    chosen = [name for name in made_by if name in maps and shapes[name][2:] == size]  # in topological order
    sources = [name if name != FEATURES else f"{FEATURES}_inside" for name in chosen]
    if len(sources) == 1:
        graph.node.append(helper.make_node("Identity", sources, [FEATURES]))
    else:
        graph.node.append(helper.make_node("Concat", sources, [FEATURES], axis=1))
    graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", total, *size]))


def _shape(value: onnx.ValueInfoProto) -> _Shape:
    """Return the shape of a value, None for an axis that is not a number."""
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in value.type.tensor_type.shape.dim)


def _from_pixels(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the values that are computed from the images, and not from their number alone."""
    found = {INPUT_NAME}
    for node in graph.node:  # in topological order
        if node.op_type != "Shape" and found & set(node.input):
            found.update(node.output)
    return found


def _is_placeless(shape: _Shape) -> bool:
    """Tell whether values have no place in the picture: (N, F), with sides of 1 beside F, or all in one row."""
    return len(shape) <= 2 or shape[-2:] == (1, 1) or sum(axis != 1 for axis in shape[1:]) <= 1


def _text(shape: _Shape | None) -> str:
    if shape is None:
        return "(unknown)"
    return f"({', '.join('N' if axis is None else str(axis) for axis in shape)})"
