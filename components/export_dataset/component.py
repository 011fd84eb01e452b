"""The KFP door of export_dataset."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def export_dataset(
    images: Input[Dataset],
    annotations: Input[Dataset],
    dataset: Output[Dataset],
    metrics: Output[Metrics],
    layout: str = "coco",
    label_space: str = "emotion",
    options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Write a data set as a folder for people and other tools: a COCO or YOLO tree, or lists of persons.

    Args:
        images: Folder of uncompressed ZIP archives with the photos.
        annotations: COCO JSON file with one annotation per face.
        dataset: Written: the folder, with ASCII names and filename_mapper.json, which has the original ones.
        metrics: Written: images of every split, faces, and counts of what was left out.
        layout: Layout of the folder: coco, yolo_detection, yolo_classification or profile_lists.
        label_space: Name of the label space whose classes are written.
        options: Options of the export: unsplit (train or skip), for images without a split.
    """
    from pathlib import Path

    from components.export_dataset.export_dataset import export_dataset as run

    report = run(
        Path(images.path),
        Path(annotations.path),
        Path(dataset.path),
        layout=layout,
        label_space=label_space,
        options=options,
    )
    metrics.log_metric("images", float(sum(report.images.values())))
    metrics.log_metric("faces", float(report.faces))
    metrics.log_metric("left_out", float(sum(report.left_out.values())))
    for split, count in report.images.items():
        metrics.log_metric(f"{split}_images", float(count))
    for reason, count in report.left_out.items():
        metrics.log_metric(f"left_out/{reason}", float(count))
