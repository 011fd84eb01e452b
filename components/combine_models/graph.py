"""Several graphs as one that computes all of them on the same images and combines their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from components.shared.prediction.combine import LOWEST
from serving.runtime.card import INPUT_NAME, Head, InputSize

_LEAST_OPSET = 18
_PREFIX = "member_{}/"


@dataclass(frozen=True, slots=True)
class HeadGroup:
    """Graphs with the same heads, which are their outputs."""

    heads: tuple[Head, ...]
    graphs: tuple[onnx.ModelProto, ...]


def combine_graphs(
    groups: Sequence[HeadGroup], size: InputSize, rule: str, joint: Head | None = None
) -> onnx.ModelProto:
    """Return a graph with the input `images`, uint8 (N, height, width, 3), and the combined heads as outputs.

    Within a group a head becomes the mean of the members' probabilities, or for `log_mean` of their logarithms, of
    which those below 1e-7 count as 1e-7; either is divided by its sum.

    Args:
        groups: the members, each with the input `images` of `size`.
        size: of the images.
        rule: `mean` or `log_mean`.
        joint: of two groups with a head each, the output that their product becomes: the second head varies fastest.
    """
    members = [graph for group in groups for graph in group.graphs]
    opset = max([_LEAST_OPSET, *map(_opset, members)])
    merged = _entrance(len(members), size, opset)
    for number, graph in enumerate(members):
        prefix = _PREFIX.format(number)
        member = compose.add_prefix(_of_opset(graph, opset), prefix)
        merged = compose.merge_models(merged, member, io_map=[(f"to_{number}", prefix + INPUT_NAME)])
    end = _end(groups, rule, joint, opset)
    names = [value.name for value in end.graph.input]
    outputs = [value.name for value in end.graph.output]
    merged = compose.merge_models(merged, end, io_map=[(name, name) for name in names], outputs=outputs)
    domains = {entry.domain: entry for entry in merged.opset_import}  # merging repeats them
    del merged.opset_import[:]
    merged.opset_import.extend(domains.values())
    return merged


def _opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _of_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the graph of a model alone, in a version of the operators and of the format that all members have."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    if _opset(bare) != opset:
        bare = version_converter.convert_version(bare, opset)
    bare.ir_version = _ir(opset)
    return bare


def _ir(opset: int) -> int:
    return helper.find_min_ir_version_for([helper.make_opsetid("", opset)])


def _model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=_ir(opset))


def _entrance(members: int, size: InputSize, opset: int) -> onnx.ModelProto:
    """A graph that hands the images to every member."""
    shape: list[str | int | None] = ["batch", size.height, size.width, 3]
    names = [f"to_{number}" for number in range(members)]
    graph = helper.make_graph(
        [helper.make_node("Identity", [INPUT_NAME], [name], name=name) for name in names],
        "combined",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in names],
    )
    return _model(graph, opset)


class _End:
    """The nodes and constants behind the members."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: object, kind: type[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, kind), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def mean(self, rule: str, inputs: Sequence[str], output: str) -> str:
        if len(inputs) == 1:
            return self.add("Identity", inputs, output)
        if rule == "log_mean":
            least = self.constant(f"{output}/least", LOWEST, np.float32)
            raised = [self.add("Max", [one, least], f"{output}/raised_{n}") for n, one in enumerate(inputs)]
            logs = [self.add("Log", [one], f"{output}/log_{n}") for n, one in enumerate(raised)]
            return self.add("Softmax", [self.add("Mean", logs, f"{output}/mean")], output, axis=-1)
        mean = self.add("Mean", inputs, f"{output}/mean")
        axes = self.constant(f"{output}/axes", [-1], np.int64)
        total = self.add("ReduceSum", [mean, axes], f"{output}/sum", keepdims=1)
        return self.add("Div", [mean, total], output)

    def product(self, first: str, second: str, output: str) -> str:
        rows = self.add("Unsqueeze", [first, self.constant(f"{output}/last", [2], np.int64)], f"{output}/rows")
        columns = self.add("Unsqueeze", [second, self.constant(f"{output}/middle", [1], np.int64)], f"{output}/columns")
        table = self.add("Mul", [rows, columns], f"{output}/table")
        return self.add("Flatten", [table], output, axis=1)


def _end(groups: Sequence[HeadGroup], rule: str, joint: Head | None, opset: int) -> onnx.ModelProto:
    """A graph from the heads of all members to the outputs."""
    end, inputs, combined, first = _End(), [], [], 0
    for group in groups:
        prefixes = [_PREFIX.format(first + number) for number in range(len(group.graphs))]
        first += len(group.graphs)
        for head in group.heads:
            names = [prefix + head.name for prefix in prefixes]
            inputs += [_value(name, head) for name in names]
            combined.append(end.mean(rule, names, head.name if joint is None else f"combined/{head.name}"))
    outputs = [head for group in groups for head in group.heads] if joint is None else [joint]
    if joint is not None:
        slow, fast = combined
        end.product(slow, fast, joint.name)
    graph = helper.make_graph(
        end.nodes, "end", inputs, [_value(head.name, head) for head in outputs], initializer=end.constants
    )
    return _model(graph, opset)


def _value(name: str, head: Head) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", len(head.labels)])
