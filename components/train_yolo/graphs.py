"""Models of ultralytics as graphs: from uint8 RGB images to decoded boxes and scores, or to probabilities.

A detector gives every candidate of its one-to-many branch, before any threshold, so that the endpoint's own
non-maximum suppression applies, as ultralytics' `predict` does by default. The one-to-one branch of YOLOv10 and YOLO26,
which needs no suppression, is left out.
"""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from components.shared.models.trace import trace
from components.train_yolo.library import tasks
from serving.runtime.card import INPUT_NAME, ClassificationCard, DetectionCard

Floats = NDArray[np.float32]

_IMAGES = 2


@dataclass(frozen=True, slots=True)
class Differences:
    """The largest differences between a graph and its model: of scores or probabilities, and of boxes and points.

    The second in pixels of the input; 0 for a classifier.
    """

    scores: float
    pixels: float


class DetectorGraph(nn.Module):
    """Images, uint8 (N,H,W,3) RGB, to boxes (N,A,4), scores (N,A,C) and perhaps points (N,A,P,2), for A candidates.

    Boxes are left, top, right, bottom, and points x, y, in pixels of the input.

    Args:
        model: a detection or pose model of ultralytics.
        order: which of the model's classes each score is.
        points: whether the points of a pose model are given.
    """

    def __init__(self, model: Any, order: Sequence[int], *, points: bool = False) -> None:
        super().__init__()
        self.model = model
        self.order = list(order)
        self.points = points

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return boxes and scores, and points if they are given."""
        head = self.model.model[-1]
        found = self.model(_planes(images))
        if isinstance(head, tasks.RTDETRDecoder):
            boxes, scores = found[1][0][-1], found[1][1][-1].sigmoid()
            height, width = images.shape[1:3]
            boxes = _corners(boxes) * torch.tensor([width, height, width, height])
            return boxes, _ordered(scores, self.order)
        rows = (found if isinstance(found, torch.Tensor) else found[0]).transpose(1, 2)
        boxes, scores, points = rows.split([4, head.nc, rows.shape[-1] - 4 - head.nc], dim=-1)
        outputs = boxes if head.xyxy else _corners(boxes), _ordered(scores, self.order)
        return (*outputs, points.unflatten(-1, head.kpt_shape)[..., :2]) if self.points else outputs


class ClassifierGraph(nn.Module):
    """Images, uint8 (N,H,W,3) RGB, to probabilities (N,C).

    Args:
        model: a classification model of ultralytics, whose head applies the softmax.
        order: which of the model's classes each probability is.
    """

    def __init__(self, model: Any, order: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.order = list(order)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the probabilities."""
        found = self.model(_planes(images))
        return _ordered(found if isinstance(found, torch.Tensor) else found[0], self.order)


def _zeros_around(padding: Sequence[int], planes: torch.Tensor) -> torch.Tensor:
    """Return the planes with zeros on the left, right, top and bottom.

    It stands in for nn.ZeroPad2d in YOLOv3-tiny: ONNX Runtime merges a Pad with the MaxPool that follows it, and then
    pads with less than zero.
    """
    left, right, top, bottom = padding
    for axis, before, after in ((-1, left, right), (-2, top, bottom)):
        zeros = torch.zeros_like(planes.narrow(axis, 0, 1))
        planes = torch.cat([*[zeros] * before, planes, *[zeros] * after], dim=axis)
    return planes


def _planes(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float() / 255


def _corners(boxes: torch.Tensor) -> torch.Tensor:
    """Return boxes center x, center y, width, height as left, top, right, bottom."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def _ordered(values: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    return values if list(order) == list(range(values.shape[-1])) else values[..., list(order)]


def to_onnx(module: DetectorGraph | ClassifierGraph, card: DetectionCard | ClassificationCard) -> onnx.ModelProto:
    """Return the graph of a module whose layers are fused; the module stays as it is."""
    module = copy.deepcopy(module).eval()
    module.model.fuse(verbose=False)
    for layer in module.model.model:
        if isinstance(layer, nn.ZeroPad2d):
            layer.forward = partial(_zeros_around, layer.padding)  # type: ignore[method-assign]
    head, outputs = module.model.model[-1], list(card.outputs)
    free = {0: torch.export.Dim("batch")}
    height, width, stride = card.input.height, card.input.width, card.stride
    if stride is not None:
        head.export, head.format, head.dynamic, head.xyxy = True, "onnx", True, True
        # The exporter takes sides of one stride for a special case: `differences` tries them.
        height, width = 2 * stride, 3 * stride
        free |= {1: stride * torch.export.Dim("rows"), 2: stride * torch.export.Dim("columns")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The tensor attributes .* were assigned during export")
        return trace(module, torch.zeros((_IMAGES, height, width, 3), dtype=torch.uint8), outputs, free)


def differences(
    module: DetectorGraph | ClassifierGraph, data: bytes, card: DetectionCard | ClassificationCard
) -> Differences:
    """Compare a model as it was trained, its layers not fused, with a graph, on random images of several sizes."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    names = list(card.outputs)
    scores, pixels = [0.0], [0.0]
    for shape in _shapes(card):
        images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        with torch.no_grad():
            given = module(torch.from_numpy(images))
        expected = [one.numpy() for one in ([given] if isinstance(given, torch.Tensor) else given)]
        actual = session.run(names, {INPUT_NAME: images})
        if isinstance(module.model.model[-1], tasks.RTDETRDecoder):
            actual = _alike(expected, actual)
        for name, one, other in zip(names, expected, actual, strict=True):
            (pixels if name in ("boxes", "points") else scores).append(float(np.abs(one - other).max()))
    return Differences(float(np.max(scores)), float(np.max(pixels)))  # NaN where there is one


def _alike(expected: Sequence[Floats], actual: Sequence[Floats]) -> list[Floats]:
    """Return the boxes and scores of `actual` in the order of those of `expected` that are nearest.

    RT-DETR sorts its candidates by scores that rounding may change.
    """
    rows = [
        np.abs(one[:, None] - other[None]).max(axis=2).argmin(axis=1)
        for one, other in zip(expected[0], actual[0], strict=True)
    ]
    return [np.stack([image[row] for image, row in zip(values, rows, strict=True)]) for values in actual]


def _shapes(card: DetectionCard | ClassificationCard) -> list[tuple[int, int, int]]:
    """Return number, height and width of the images that are compared."""
    height, width, stride = card.input.height, card.input.width, card.stride
    if stride is None:
        return [(1, height, width), (3, height, width)]
    return [(1, stride, stride), (3, min(5 * stride, height), min(2 * stride, width)), (1, height, width)]
