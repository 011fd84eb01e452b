"""Inference on tensors, whatever carries them: the Open Inference Protocol, version 2, without its transports."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from serving.runtime.card import INPUT_NAME, Head, ModelCard
from serving.runtime.composite import Composite
from serving.runtime.composite_card import CompositeCard
from serving.runtime.errors import InputError
from serving.runtime.predictor import Classifier, Predictor
from serving.runtime.session import Outputs
from serving.runtime.work import Work
from serving.server.answer import Picture, Seen, answers

FACES_OUTPUT = "faces"
"""The output of a composite: for each photo the JSON of `POST /predict`."""

# Images of one request: prepared pixels, and files.
MAX_IMAGES = 1024
MAX_FILES = 64


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a request or of an answer.

    Attributes:
        name: of the model's input or output.
        datatype: the protocol's word, such as UINT8, FP32 or BYTES.
        shape: its axes; of an answer those of `data`.
        data: an array of that shape, or of BYTES the elements in row-major order.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[np.generic] | Sequence[bytes]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request asks for; with `classes`, its so many highest values with their labels instead."""

    name: str
    classes: int = 0


def describe(model: Predictor, versions: Sequence[str]) -> dict[str, Any]:
    """Return the model's metadata: name, versions, platform, and its inputs and outputs with -1 for free axes.

    Each output of a classifier also has its columns' labels. A composite takes photos, and lists heads and members.
    """
    described: dict[str, Any] = {"name": model.name, "versions": list(versions)}
    if isinstance(model, Composite):
        return described | {
            "platform": "facet_composite",
            "inputs": [{"name": INPUT_NAME, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": FACES_OUTPUT, "datatype": "BYTES", "shape": [-1]}],
            "heads": [{"name": head.name, "labels": head.labels} for head in model.heads],
            "members": [{"name": one.name, "version": one.version, "task": one.card.task} for one in model.members],
        }
    card = cast(ModelCard, model.card)
    sides = [card.input.height, card.input.width] if card.stride is None else [-1, -1]
    labels = {name: {"labels": head.labels} for name, head in _heads(model).items()}
    return described | {
        "platform": "onnx_onnxv1",
        "inputs": [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, *sides, 3]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, *(axis or -1 for axis in shape)]} | labels.get(name, {})
            for name, shape in card.outputs.items()
        ],
    }


def configuration(model: Predictor) -> dict[str, Any]:
    """Return what Triton calls the model's configuration, in the form of its JSON."""
    described = describe(model, [])
    batched = described["inputs"][0]["shape"][1:]
    tensors = {
        side: [
            {"name": one["name"], "data_type": _TRITON_TYPES[one["datatype"]], "dims": one["shape"][1:] or [-1]}
            for one in described[f"{side}s"]
        ]
        for side in ("input", "output")
    }
    return {
        "name": model.name,
        "platform": described["platform"],
        "backend": "facet",
        # A tensor of files has no axis besides that of the batch, which such a model lists itself.
        "max_batch_size": MAX_IMAGES if batched else 0,
        **tensors,
        "parameters": {"sha256": {"string_value": model.sha256}},
    }


_TRITON_TYPES = {"UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}


def check_request(
    model: Predictor, inputs: Sequence[tuple[str, str, Sequence[int]]], requested: Sequence[RequestedOutput]
) -> None:
    """Check the name, datatype and shape of each input, before its data is read, and the outputs.

    Raises:
        InputError: they are not those of the model.
    """
    if [name for name, _, _ in inputs] != [INPUT_NAME]:
        raise InputError(f"inputs: expected exactly one tensor named '{INPUT_NAME}'")
    composite = isinstance(model.card, CompositeCard)
    known = [FACES_OUTPUT] if isinstance(model.card, CompositeCard) else list(model.card.outputs)
    for output in requested:
        if output.name not in known:
            raise InputError(f"outputs: the model has no output '{output.name[:80]}'; it has {', '.join(known)}")
        if output.classes and output.name not in _heads(model):
            raise InputError(f"outputs: '{output.name}' has no classes; only heads of a classifier have")
    if len({output.name for output in requested}) < len(requested):
        raise InputError("outputs: an output is named twice; name each once")
    _, datatype, shape = inputs[0]
    if min(shape, default=0) < 0:
        raise InputError(f"{INPUT_NAME}: shape {list(shape)} has an axis below 0")
    if datatype == "BYTES":
        if math.prod(shape) > MAX_FILES:
            raise InputError(f"{INPUT_NAME}: {list(shape)} are too many files for one request; at most {MAX_FILES}")
    elif datatype == "UINT8" and not composite:
        size = cast(ModelCard, model.card).input
        if cast(ModelCard, model.card).stride is None and list(shape[1:]) != [size.height, size.width, 3]:
            expected = f"[n, {size.height}, {size.width}, 3]"
            raise InputError(f"{INPUT_NAME}: expected shape {expected}, got {list(shape)}")
        if list(shape[:1]) > [MAX_IMAGES]:
            raise InputError(f"{INPUT_NAME}: {shape[0]} images are too many for one request; send {MAX_IMAGES}")
    else:
        expected = "BYTES" if composite else "UINT8 or BYTES"
        raise InputError(f"{INPUT_NAME}: datatype '{datatype[:20]}' is not supported; expected {expected}")


def image_count(datatype: str, shape: Sequence[int]) -> int:
    """Return how many images an input has: files in a tensor of any shape, or pixels along its first axis."""
    return math.prod(shape if datatype == "BYTES" else shape[:1])


def infer(
    model: Predictor, inputs: Sequence[Tensor], requested: Sequence[RequestedOutput] = (), *, work: Work | None = None
) -> list[Tensor]:
    """Run a model on its one input, `images`, and return the requested outputs, by default all.

    UINT8 of shape (n, height, width, 3) are prepared RGB images for a graph. BYTES of shape (n) are image files: a
    graph gets each one whole, a composite finds its faces and gives `faces`, BYTES of shape (n).

    Raises:
        ImageError: a file cannot be used.
        InputError: as `check_request`.
        AbandonedError: nobody waits for the result any longer.
    """
    check_request(model, [(tensor.name, tensor.datatype, tensor.shape) for tensor in inputs], requested)
    images = cast("NDArray[np.uint8] | Sequence[bytes]", inputs[0].data)
    if isinstance(model, Composite):
        faces = answers(model, [Picture(data) for data in cast("Sequence[bytes]", images)], work)
        return [Tensor(FACES_OUTPUT, "BYTES", (len(faces),), [json.encode(face) for face in faces])]
    outputs, heads = _outputs(model, images, work), _heads(model)
    return [
        _classes(output, outputs[output.name], heads[output.name])
        if output.classes
        else Tensor(output.name, "FP32", outputs[output.name].shape, outputs[output.name])
        for output in requested or map(RequestedOutput, outputs)
    ]


def _outputs(model: Predictor, images: NDArray[np.uint8] | Sequence[bytes], work: Work | None) -> Outputs:
    """Run a graph, and note what a classifier says of files as `answers` does."""
    if isinstance(images, np.ndarray) or not isinstance(model, Classifier):
        return model.infer(images, work=work)
    outputs, faces = model.infer_files(images, work=work)
    if work is not None:
        work.seen += [Seen(model, data, [face]) for data, face in zip(images, faces, strict=True)]
    return outputs


def _heads(model: Predictor) -> dict[str, Head]:
    return {head.name: head for head in model.card.heads} if model.card.task == "classification" else {}


def _classes(output: RequestedOutput, values: NDArray[np.float32], head: Head) -> Tensor:
    """Return the highest values of each row as `value:index:label` (Triton's classification extension)."""
    count = min(output.classes, values.shape[1])
    return Tensor(output.name, "BYTES", (len(values), count), list(_best(values, head, count)))


def _best(values: NDArray[np.float32], head: Head, count: int) -> Iterator[bytes]:
    for row in values:
        for index in np.argsort(-row, kind="stable")[:count]:
            yield f"{row[index]:.9g}:{index}:{head.labels[index]}".encode()
