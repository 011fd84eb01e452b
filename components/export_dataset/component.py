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
        options: Options of the export: unsplit (train or skip) for images without a split, and classes (face or
            label_space) of the boxes of yolo_detection.
    """
    from pathlib import Path

    from components.export_dataset.export_dataset import export_dataset as run
    from components.shared.metrics.step import log_metrics

    report = run(
        Path(images.path),
        Path(annotations.path),
        Path(dataset.path),
        layout=layout,
        label_space=label_space,
        options=options,
    )
    counts = {"images": sum(report.images.values()), "faces": report.faces, "left_out": sum(report.left_out.values())}
    log_metrics(metrics, counts)
    log_metrics(metrics, {f"{split}_images": count for split, count in report.images.items()})
    log_metrics(metrics, report.left_out, prefix="left_out/")
