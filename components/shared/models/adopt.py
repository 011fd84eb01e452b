"""Adopt a detector: from somebody else's ONNX graph, or a Facet detector, to a self-describing Facet detector."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, parser, version_converter
from pydantic import Field, ValidationError

from components.shared.dataset.label_spaces import FACE
from components.shared.models.detector_graphs import ADAPTERS, Adapter
from components.shared.options import parse_options
from serving.runtime.card import INPUT_NAME, METADATA_KEY, DetectionCard, DetectionThresholds, InputSize, Shape
from serving.runtime.errors import InputError, NoAnswerError, StorageError
from serving.runtime.load import open_model
from serving.runtime.registry import fetch_model
from serving.runtime.seal import SEAL_KEY, ZEROS, sealed
from serving.runtime.validation import Frozen, explain, shortened

TOLERANCE = 1e-3
"""The most that the adopted graph may differ from the original one: scores as they are, boxes and points in pixels."""

_OPSET = 18
_IR_VERSION = 10
_FOREIGN = "foreign_"


class AdoptOptions(Frozen):
    """What of the adopted detector's card is chosen; by default what its authors published.

    `height` and `width` are the largest input of a graph of free size.
    """

    score: float | None = Field(default=None, ge=0.0, le=1.0)
    nms_iou: float | None = Field(default=None, gt=0.0, le=1.0)
    max_detections: int | None = Field(default=None, ge=1, le=10_000)
    height: int | None = Field(default=None, ge=8, le=4096)
    width: int | None = Field(default=None, ge=8, le=4096)


@dataclass(frozen=True, slots=True)
class AdoptedDetector:
    """The model file of a Facet detector, what it was made from, and the largest difference from the original graph.

    `kind` is a name of ADAPTERS, or `facet` for a detector that is what it was.
    """

    content: bytes
    kind: str
    max_difference: float


def adopt(content: bytes, source: str, *, name: str, options: Mapping[str, Any] | None = None) -> AdoptedDetector:
    """Return a Facet detector made from a foreign graph; a Facet detector stays as it is.

    The bytes depend only on the content, name and options and the version of onnx.

    Args:
        content: an ONNX file.
        source: where it is from, for messages.
        name: the detector's name in its card.
        options: see `AdoptOptions`.

    Raises:
        InputError: the file is not a detector that is known, the adopted graph differs from the original one by more
            than `TOLERANCE`, or an option cannot be used.
    """
    chosen = parse_options(AdoptOptions, options or {}, "options of adopt_detector")
    if not name.strip():
        raise InputError("name: must not be empty, the detector is named so in its card and in results")
    original = _parsed(content, source)
    if any(entry.key == METADATA_KEY for entry in original.metadata_props):
        _check_detector(content, source, chosen)
        return AdoptedDetector(content, "facet", 0.0)
    kind = _kind(original, source)
    adapter = _of_size(kind, original, source)
    card = _card(adapter, name, chosen, content)
    try:
        adopted = _adopted(original, adapter, card)
        difference = max_difference(content, adopted, adapter, card)
        if not difference <= TOLERANCE:  # also true for NaN
            raise InputError(f"adopted, it differs by up to {difference:.2g}; at most {TOLERANCE:g} is allowed")
        open_model(adopted, source=source)
    except Exception as error:  # onnx, onnxruntime and numpy raise unrelated types, all of them about this graph
        raise _unusable(source, kind, str(error)) from error
    return AdoptedDetector(adopted, kind, difference)


def check_detector(content: bytes, source: str) -> None:
    """Raise InputError, as `adopt` does, unless a file is a detector of this project or a graph of a known kind.

    A foreign graph is not adopted, which may fail still.
    """
    model = _parsed(content, source)
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        _check_detector(content, source, AdoptOptions())
    else:
        _kind(model, source)


def max_difference(original: bytes, adopted: bytes, adapter: Adapter, card: DetectionCard) -> float:
    """Return the largest absolute difference of outputs between an adopted graph and the original, decoded in numpy.

    Both run on random images.
    """
    before, after = (_session(content) for content in (original, adopted))
    rng = np.random.default_rng(0)
    stride = card.stride or 1
    height, width = card.input.height, card.input.width
    sizes = [(height, width)] if card.stride is None else [(2 * stride, 5 * stride), (stride, stride)]
    differences = []
    for height, width in sizes:
        images = rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        names = list(adapter.outputs)
        # Some graphs take one image at a time.
        single = [before.run(names, {adapter.source: adapter.prepare(images[i : i + 1])}) for i in range(len(images))]
        raw = {key: np.concatenate([outputs[i] for outputs in single]) for i, key in enumerate(names)}
        expected = adapter.decode(raw, height, width)
        actual = after.run(list(card.outputs), {INPUT_NAME: images})
        for key, values in zip(card.outputs, actual, strict=True):
            differences.append(np.abs(values - expected[key]).max())
    return float(np.max(differences))


def fetch_weights(weights: str) -> bytes:
    """Read the ONNX file of a detector: see `fetch_model`; the error about one that is missing says what is expected.

    Raises:
        InputError: the URI is invalid, or nothing is registered under it.
        StorageError: there is no such file, or it cannot be reached.
    """
    try:
        return fetch_model(weights).content
    except NoAnswerError:
        raise
    except StorageError as error:
        raise StorageError(f"{error}; expected {_expected()}") from error


def _parsed(content: bytes, source: str) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and onnx raise unrelated types, all of them about this file
        reason = " ".join(str(error).split())
        raise InputError(
            f"{source}: not an ONNX model, or cut short: {shortened(reason)}; expected {_expected()}"
        ) from error
    return model


def _check_detector(content: bytes, source: str, options: AdoptOptions) -> None:
    card = open_model(content, source=source).card
    if not isinstance(card, DetectionCard):
        raise InputError(f"{source}: a model of task '{card.task}', not a detector; expected {_expected()}")
    changed = ", ".join(options.model_dump(exclude_none=True))
    if changed:
        raise InputError(f"options of adopt_detector: {changed} cannot be changed in a Facet detector, which is copied")


def _kind(model: onnx.ModelProto, source: str) -> str:
    outputs = {value.name: _shape(value)[-1:] for value in model.graph.output}
    inputs = [value.name for value in _inputs(model)]
    for kind, adapter in ADAPTERS.items():
        if inputs == [adapter.source] and outputs == {key: (length,) for key, length in adapter.outputs.items()}:
            return kind
    takes, gives = (
        ", ".join(f"{value.name} {list(_shape(value))}" for value in values)
        for values in (_inputs(model), model.graph.output)
    )
    raise InputError(f"{source}: not a detector that is known: it takes {takes} and gives {gives}; {_known()}")


def _expected() -> str:
    return "one of: " + "; ".join([adapter.title for adapter in ADAPTERS.values()] + ["a Facet detector"])


def _known() -> str:
    kinds = (
        f"{adapter.title} takes {adapter.source} [N, 3, height, width] and gives "
        + ", ".join(f"{name} [N, A, {length}]" for name, length in adapter.outputs.items())
        for adapter in ADAPTERS.values()
    )
    return "known are: " + "; ".join([*kinds, "a Facet detector, which holds a model card"])


def _unusable(source: str, kind: str, reason: str) -> InputError:
    """Return the error about a graph whose inputs and outputs have the names of a known one."""
    reason = shortened(" ".join(reason.split()))
    return InputError(f"{source}: looks like {kind}, but cannot be adopted: {reason}; {_known()}")


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {weight.name for weight in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    """Return the axes: a length, or a name, `?` without one, where it is free."""
    return tuple(axis.dim_param or axis.dim_value or "?" for axis in value.type.tensor_type.shape.dim)


def _of_size(kind: str, model: onnx.ModelProto, source: str) -> Adapter:
    """Return the adapter of a kind with the input size that a graph fixes, if it does.

    Raises InputError when the input is not one of photos.
    """
    adapter, (value,) = ADAPTERS[kind], _inputs(model)
    shape = _shape(value)
    fixed = [isinstance(axis, int) for axis in shape]
    right = len(shape) == 4 and (shape[0] == 1 or not fixed[0]) and (shape[1] == 3 or not fixed[1])
    if not right or fixed[2] != fixed[3]:
        expected = "[N, 3, height, width], where N is free or 1, and height and width are both free or both fixed"
        raise _unusable(source, kind, f"its input {value.name} is {list(shape)}, expected {expected}")
    if not fixed[2]:
        return adapter
    try:
        size = InputSize.model_validate({"height": shape[2], "width": shape[3]})
    except ValidationError as error:
        raise _unusable(source, kind, f"its input {value.name} is {list(shape)}: {explain(error)}") from error
    resize = adapter.resize.model_copy(update={"stride": None})
    return replace(adapter, input=size, resize=resize)


def _card(adapter: Adapter, name: str, options: AdoptOptions, content: bytes) -> DetectionCard:
    chosen = options.model_dump(exclude_none=True)
    size = {key: chosen.pop(key) for key in ("height", "width") if key in chosen}
    stride = adapter.resize.stride
    if size and stride is None:
        raise InputError(
            f"options of adopt_detector: {', '.join(size)}: the input of this graph is always "
            f"{adapter.input.height} x {adapter.input.width} pixels"
        )
    wrong = [f"{key} = {value}" for key, value in size.items() if stride and value % stride]
    if wrong:
        raise InputError(f"options of adopt_detector: {', '.join(wrong)}: must be a multiple of {stride}")
    return DetectionCard(
        name=name,
        input=InputSize(**adapter.input.model_dump() | size),
        labels=FACE.class_labels,
        points=adapter.points,
        resize=adapter.resize,
        thresholds=DetectionThresholds(**adapter.thresholds.model_dump() | chosen),
        leaks=False,
        versions={"onnx": onnx.__version__},
        dataset_digest="",
        training_digest=hashlib.sha256(content).hexdigest(),
    )


def _adopted(original: onnx.ModelProto, adapter: Adapter, card: DetectionCard) -> bytes:
    """Return the model file of the graph between its adapter's nodes, with the card and a seal."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    for value in list(model.graph.input):
        if value.name != adapter.source:
            model.graph.input.remove(value)
    model.ir_version = _IR_VERSION
    core = version_converter.convert_version(model, _OPSET).graph
    _free_batch(core)
    _rename(core, adapter)
    nodes = [*_nodes(adapter.before), *core.node, *_nodes(adapter.after)]
    sides = ("height", "width") if card.stride else (card.input.height, card.input.width)
    images = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ("N", *sides, 3))
    outputs = [
        helper.make_tensor_value_info(key, TensorProto.FLOAT, ("N", *_axes(shape)))
        for key, shape in card.outputs.items()
    ]
    graph = helper.make_graph(nodes, "detector", [images], outputs, core.initializer)
    adopted = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(adopted, {**card.to_metadata(), SEAL_KEY: ZEROS})
    onnx.checker.check_model(adopted)
    return sealed(adopted.SerializeToString(deterministic=True))


def _axes(shape: Shape) -> tuple[int | str, ...]:
    return tuple("A" if axis is None else axis for axis in shape)


def _free_batch(graph: onnx.GraphProto) -> None:
    """Let reshapes keep the batch axis where an exporter wrote 1 for it; the comparison of outputs tells if it was."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for weight in graph.initializer:
        if weight.name in shapes:
            shape = numpy_helper.to_array(weight).ravel().tolist()  # empty where a scalar is made
            if shape[:1] == [1] and -1 in shape[1:]:
                weight.CopyFrom(numpy_helper.from_array(np.array([0, *shape[1:]]), weight.name))


def _rename(graph: onnx.GraphProto, adapter: Adapter) -> None:
    """Mark the names of a foreign graph, so that they are none of the adapter's; those that it knows stay.

    An output of the same name as one of a Facet detector is marked too.
    """
    kept = {adapter.source, *adapter.outputs} - {"boxes", "scores", "points"}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [value if not value or value in kept else _FOREIGN + value for value in names]
        node.name = ""
        node.doc_string = ""
    for weight in graph.initializer:
        weight.name = _FOREIGN + weight.name


def _nodes(text: str) -> list[onnx.NodeProto]:
    """Return the nodes of ONNX's text form."""
    return list(parser.parse_graph(f"nodes () => () {{{text}}}").node)


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
