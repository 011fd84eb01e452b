"""The KFP component of the landmarks step."""

from typing import Any, Optional

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def landmarks(
    images: Input[Dataset],
    landmarks_annotations: Output[Dataset],
    coordinates: Output[Dataset],
    pictures: Output[Dataset],
    listing: Output[Dataset],
    metrics: Output[Metrics],
    options: dict[str, Any],
    annotations: Optional[Input[Dataset]] = None,
) -> None:
    """Mark the 68 or 5 points of every face, as annotations, as a table and drawn.

    Args:
        images: Image archives, a folder tree or a ZIP archive of pictures.
        landmarks_annotations: The annotations with COCO keypoints.
        coordinates: CSV with one row per face: path, face_index, box, x0, y0, x1, y1, ...
        pictures: Folder with the drawn faces of each mode, <mode>/<path>.png.
        listing: JSON with the images with several faces, those without one, and those that failed.
        metrics: Counts of images and faces.
        options: Weights of dlib's predictor (weights), faces (found or given), pictures (gray, color, heatmap), ...
        annotations: COCO JSON of the images; without, all faces that are found.
    """
    from pathlib import Path

    from components.landmarks.landmarks import Outputs, landmarks
    from components.shared.metrics.step import log_metrics

    report = landmarks(
        Path(images.path),
        Path(annotations.path) if annotations is not None else None,
        Outputs(Path(landmarks_annotations.path), Path(coordinates.path), Path(pictures.path), Path(listing.path)),
        options,
    )
    counts = {
        "images": report.images,
        "faces": report.faces,
        "several_faces": len(report.several_faces),
        "no_face": len(report.no_face),
        "failed": len(report.failed),
    }
    log_metrics(metrics, counts)
