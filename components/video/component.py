"""The KFP component of the video step."""

from typing import Any

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.VIDEO, install_kfp_package=False)
def annotate_video(
    model: Input[Model],
    labels: Output[Dataset],
    annotated: Output[Artifact],
    metrics: Output[Metrics],
    video: str,
    options: dict[str, Any] = {},  # noqa: B006
) -> bool:
    """Find the faces of a video, keep their numbers from frame to frame, and write labels and an annotated copy.

    Args:
        model: A composite, or a detector.
        labels: JSON lines: the video, every frame that the model saw with its faces, and the end.
        annotated: MP4 with boxes, numbers and labels drawn; empty with copy_video=false.
        metrics: Counts of frames and faces.
        video: Path or s3:// address of a video.
        options: Which frames (every or fps), which faces (all, largest or score), iou and memory of the numbers,
            copy_video.

    Returns:
        True when every frame could be read, up to the end of the video.
    """
    from dataclasses import asdict
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.video.annotate import annotate_video

    report = annotate_video(model.path, video, Path(labels.path), Path(annotated.path), options)
    log_metrics(metrics, {name: value for name, value in asdict(report).items() if isinstance(value, int)})
    return report.complete
