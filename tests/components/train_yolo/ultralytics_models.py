"""Checkpoints of ultralytics with random weights, and what ultralytics itself says of a photo."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scipy.optimize import linear_sum_assignment

from components.train_yolo.library import tasks, ultralytics
from components.train_yolo.weights import read_model
from serving.runtime.card import DetectionCard
from serving.runtime.detection import letterbox
from serving.runtime.detector import Detector
from serving.runtime.image.photo import Photo

_NETWORKS = {
    "detect": tasks.DetectionModel,
    "pose": tasks.PoseModel,
    "classify": tasks.ClassificationModel,
    "segment": tasks.SegmentationModel,
    "rtdetr": tasks.RTDETRDetectionModel,
}


def save_random(
    path: Path,
    description: str,
    *,
    names: tuple[str, ...] = ("face",),
    kind: str = "detect",
    imgsz: int = 96,
    **more: Any,
) -> Path:
    """Write a checkpoint with random weights and batch-norm statistics; the scores of its candidates cover 0..1.

    Args:
        path: of the checkpoint.
        description: the name of a .yaml that ultralytics ships, or the text of one.
        names: the classes.
        kind: the task, or rtdetr.
        imgsz: what the checkpoint says it was trained with.
        more: for the network, such as `data_kpt_shape`.
    """
    layers = description if description.endswith(".yaml") else yaml.safe_load(description)
    draw = torch.Generator().manual_seed(7)
    torch.manual_seed(0)
    network = _NETWORKS[kind](layers, nc=len(names), verbose=False, **more)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2, generator=draw)
            layer.running_var.uniform_(0.2, 0.8, generator=draw)
            layer.weight.data.uniform_(0.8, 1.4, generator=draw)
            layer.bias.data.normal_(0, 0.3, generator=draw)
    for layer in network.model[-1].modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and layer.bias is not None:
            layer.weight.data.mul_(2)
            layer.bias.data.normal_(0, 0.5, generator=draw)
    network.names = dict(enumerate(names))
    torch.save({"model": network.eval(), "train_args": {"imgsz": imgsz}}, path)
    return path


class TorchDetector:
    """A checkpoint that finds faces with torch and ultralytics' own suppression, on the pixels that serving makes.

    Args:
        weights: the checkpoint.
        served: the same detector, exported; its card says what is searched.
    """

    def __init__(self, weights: Path, served: Detector) -> None:
        self._model: Any = read_model(weights)
        self._served = served

    def detect(self, photo: Photo) -> np.ndarray:
        """Return left, top, right, bottom, score and class of every face, (n, 6), by falling score."""
        card: DetectionCard = self._served.card
        height, width = photo.upright
        part = letterbox((0.0, 0.0, float(width), float(height)), card.resize, card.input)
        pixels = self._served._pixels(photo, part)
        images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        chosen = card.thresholds
        with torch.no_grad():
            (rows,) = ultralytics.utils.nms.non_max_suppression(
                self._model(images)[0],
                chosen.score,
                chosen.nms_iou,
                max_det=chosen.max_detections,
                nc=len(card.labels),
            )
        rows[:, :4] = ultralytics.utils.ops.scale_boxes(part.size, rows[:, :4], photo.upright)
        rows = rows[(rows[:, 0] < rows[:, 2]) & (rows[:, 1] < rows[:, 3])]
        return rows[:, :6].numpy()


def differences(served: Detector, torch_detector: TorchDetector, photo: Photo) -> tuple[int, float, float]:
    """Return the number of faces and by how much boxes, in pixels of the photo, and scores of a photo differ at most.

    Raises AssertionError where both do not find equally many faces.
    """
    expected = torch_detector.detect(photo)
    (faces,) = served.detect([photo])
    assert len(faces) == len(expected), (len(faces), len(expected))
    if not faces:
        return 0, 0.0, 0.0
    boxes = np.array([(x, y, x + width, y + height) for x, y, width, height in (face.box for face in faces)])
    scores = np.array([face.score for face in faces])
    apart = np.abs(expected[:, None, :4] - boxes[None]).max(axis=2)
    unlike = np.abs(expected[:, None, 4] - scores[None])
    rows = linear_sum_assignment(apart + 1000 * unlike)
    return len(faces), float(apart[rows].max()), float(unlike[rows].max())
