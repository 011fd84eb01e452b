"""The boxes of every label, for average precision, against ultralytics' own suppression with several labels."""

import os
from pathlib import Path

import numpy as np
import pytest

from components.shared.prediction.detect import boxes_by_label
from serving.runtime.card import DetectionThresholds
from serving.runtime.detection import Candidates

UPRIGHT = (300, 400)


def crowd(seed: int, labels: int, count: int = 300) -> Candidates:
    """Boxes around a few places, some beyond the photo, each with a score for every label."""
    rng = np.random.default_rng(seed)
    center = rng.uniform(0, 300, (12, 2))[rng.integers(12, size=count)] + rng.normal(0, 6, (count, 2))
    half = rng.uniform(15, 40, (count, 1)) * rng.uniform(0.8, 1.2, (count, 2))
    boxes = np.concatenate([center - half, center + half], axis=1).astype(np.float32)
    scores = rng.beta(0.5, 2, (count, labels)).astype(np.float32)
    return Candidates(boxes, scores, np.empty((count, 0, 2), np.float32))


@pytest.mark.parametrize(("seed", "labels", "most"), [(0, 2, 300), (1, 3, 300), (2, 3, 60), (3, 7, 300)])
def test_every_label_has_the_boxes_that_ultralytics_validates(
    seed: int, labels: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_CONFIG_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    import torch
    from ultralytics.utils.nms import non_max_suppression

    found, low = crowd(seed, labels), DetectionThresholds(score=0.05, nms_iou=0.6, max_detections=most)
    ours = boxes_by_label(found, low, UPRIGHT)
    middle, size = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2, found.boxes[:, 2:] - found.boxes[:, :2]
    table = np.concatenate([middle, size, found.scores], axis=1)
    (rows,) = non_max_suppression(
        torch.from_numpy(table.T[None].copy()), low.score, low.nms_iou, multi_label=True, max_det=most, nc=labels
    )
    expected = rows.numpy()
    expected[:, :4] = expected[:, :4].clip(0, [UPRIGHT[1], UPRIGHT[0]] * 2)
    assert len(ours.boxes) == len(expected) == min(most, len(expected)) and len(expected) > 15
    np.testing.assert_allclose(ours.score, expected[:, 4], atol=1e-6)
    np.testing.assert_array_equal(ours.labels, expected[:, 5].astype(int))
    corners = np.concatenate([ours.boxes[:, :2], ours.boxes[:, :2] + ours.boxes[:, 2:]], axis=1)
    np.testing.assert_allclose(corners, expected[:, :4], atol=1e-2)
    several = len(set(map(tuple, ours.boxes.tolist()))) < len(ours.boxes)
    assert several, "a box is under each label that it has a score of"


def test_a_photo_without_candidates_has_no_box_of_any_label() -> None:
    found = boxes_by_label(crowd(0, 2, count=0), DetectionThresholds(score=0.05, nms_iou=0.6), UPRIGHT)
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0, 2) and len(found.score) == 0
