"""The training of a detector or classifier with ultralytics: from two data set artifacts to checkpoints and ONNX."""

from dataclasses import dataclass
from pathlib import Path

from components.train_yolo.config import YoloConfig


@dataclass(frozen=True, slots=True)
class YoloResult:
    """What a training gave.

    Attributes:
        run_id: the MLflow run; "" without a tracking server.
        best_epoch: the epoch of best.pt and of the exported model, from 1.
        metrics: of the best epoch: map50, map50_95, precision, recall and loss, or accuracy and loss.
        sha256: of the exported model.
        max_difference: the largest difference between the exported model and best.pt.
    """

    run_id: str
    best_epoch: int
    metrics: dict[str, float]
    sha256: str
    max_difference: float


def train(
    config: YoloConfig,
    images: Path,
    annotations: Path,
    checkpoints: Path,
    exported: Path,
    *,
    name: str,
    crops: Path | None = None,
    experiment: str = "",
    run_name: str = "",
) -> YoloResult:
    """Train on the `train` split, choose the best epoch on the `val` split, and export it."""
    raise NotImplementedError
