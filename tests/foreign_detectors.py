"""Small graphs with the inputs and outputs of known detectors; their numbers follow from the pixels."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, parser


def yunet(*, heads: int = 4, size: tuple[int, int] | None = None) -> bytes:
    """A graph that YuNet's adapter takes: per stride a pooled picture, a convolution per output.

    Args:
        heads: outputs per stride; YuNet has 4.
        size: height and width of a graph for one image of one size, as some exporters write it.
    """
    rng = np.random.default_rng(5)
    kinds = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)][:heads]
    weights: dict[str, NDArray[Any]] = {}
    lines, outputs = ["  scale = Constant<value_float=0.004>()", "  small = Mul(input, scale)"], []
    for stride in (8, 16, 32):
        lines.append(
            f"  map_{stride} = AveragePool<kernel_shape=[{stride}, {stride}], strides=[{stride}, {stride}]>(small)"
        )
        for kind, length in kinds:
            weights[f"shape_{kind}_{stride}"] = np.array([1 if size else 0, -1, length])
            weights[f"weight_{kind}_{stride}"] = rng.normal(0, 0.5, (length, 3, 1, 1)).astype(np.float32)
            lines += [
                f"  {kind}_map_{stride} = Conv(map_{stride}, weight_{kind}_{stride})",
                f"  {kind}_last_{stride} = Transpose<perm=[0, 2, 3, 1]>({kind}_map_{stride})",
                f"  {kind}_{stride} = Reshape({kind}_last_{stride}, shape_{kind}_{stride})",
            ]
            outputs.append(helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, ("N", "A", length)))
    shape = (1, 3, *size) if size else ("N", 3, "height", "width")
    return _model("\n".join(lines), shape, outputs, weights)


def ultraface() -> bytes:
    """A graph that UltraFace's adapter takes: 3 boxes, for one image of 240 x 320."""
    rng = np.random.default_rng(6)
    weights = {
        "weight": rng.normal(0, 1, (3, 18)).astype(np.float32),
        "box_shape": np.array([-1, 3, 4], np.int64),
        "score_shape": np.array([-1, 3, 2], np.int64),
        "lengths": np.array([12, 6], np.int64),
    }
    text = """
  pooled = GlobalAveragePool(input)
  features = Flatten(pooled)
  all = MatMul(features, weight)
  box_values, score_values = Split<axis=1>(all, lengths)
  box_logits = Reshape(box_values, box_shape)
  boxes = Sigmoid(box_logits)
  score_logits = Reshape(score_values, score_shape)
  scores = Softmax<axis=2>(score_logits)
"""
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 3, 2)),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, (1, 3, 4)),
    ]
    return _model(text, (1, 3, 240, 320), outputs, weights)


def _model(
    text: str, shape: tuple[int | str, ...], outputs: list[onnx.ValueInfoProto], weights: dict[str, NDArray[Any]]
) -> bytes:
    """Build a graph whose weights are among its inputs too, as old exporters wrote them."""
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    inputs += [helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in tensors]
    nodes = parser.parse_graph(f"foreign () => () {{{text}}}").node
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=6)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
