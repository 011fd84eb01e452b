"""A classifier's graph with temperatures after its heads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.calibrate.temperature import SMALLEST

# What is taken from every probability and given to the highest: two that differ little would become equal in float32.
_SHARE = 2.0**-22
_AXES_ARE_INPUTS = 18
"""From this version of ONNX's operators on."""


def temper(model: onnx.ModelProto, temperatures: Mapping[str, float]) -> None:
    """Let the heads of a graph give softmax(log p / temperature) of what they gave, see `tempered`.

    The most probable label stays the most probable one, and labels that were equally probable stay so. `model` is
    changed; `temperatures` are by the name of the output.
    """
    nodes, initializers = model.graph.node, model.graph.initializer
    known = {name for node in nodes for name in (*node.input, *node.output)} | {one.name for one in initializers}
    version = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))

    def constant(value: Any, name: str) -> str:
        initializers.append(numpy_helper.from_array(np.asarray(value), free := _unused(name, known)))
        return free

    def computed(operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or _unused(f"{before}_{operator}", known)
        nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    for head, temperature in temperatures.items():
        before = _unused(f"{head}_before_temperature", known)
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = [before if name == head else name for name in names]
        positive = computed("Max", before, constant(np.float32(SMALLEST), f"{before}_smallest"))
        factor = constant(np.float32(1 / temperature), f"{before}_factor")
        scaled = computed("Softmax", computed("Mul", computed("Log", positive), factor), axis=-1)
        most = computed("Mul", scaled, constant(np.float32(1 - _SHARE), f"{before}_rest"))
        if version < _AXES_ARE_INPUTS:
            highest = computed("ReduceMax", before, axes=[-1], keepdims=1)
        else:
            highest = computed("ReduceMax", before, constant(np.array([-1]), f"{before}_axis"), keepdims=1)
        is_highest = computed("Cast", computed("Equal", before, highest), to=TensorProto.FLOAT)
        added = computed("Mul", is_highest, constant(np.float32(_SHARE), f"{before}_share"))
        computed("Add", most, added, output=head)


def _unused(name: str, known: set[str]) -> str:
    """Return the name, with digits after it where a graph has it; it is known from now on."""
    numbered = (f"{name}_{number}" for number in range(2, 3 + len(known)))
    free = name if name not in known else next(one for one in numbered if one not in known)
    known.add(free)
    return free
