"""The KFP door of crop_faces."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def crop_faces(
    images: Input[Dataset],
    annotations: Input[Dataset],
    crops: Output[Dataset],
    metrics: Output[Metrics],
    options: dict[str, Any] = {},  # noqa: B006
    enabled: bool = True,
) -> None:
    """Cut every face out of its photo, with annotations that follow.

    Args:
        images: Image archives, a folder tree or a ZIP archive of photos.
        annotations: COCO JSON file about them.
        crops: Written: the folder of image archives with the crops, and annotations.json about them.
        metrics: Written: crops, their photos, faces that failed by reason, and photos without a face.
        options: Size, crop rule and file type, such as height, width, mode, scale, aspect, format and max_failed.
        enabled: False writes a folder without crops, for a pipeline whose training reads the photos.
    """
    from pathlib import Path

    from components.crop_faces.crop_faces import crop_faces as run
    from components.shared.dataset.crops import write_none
    from components.shared.metrics.step import log_metrics

    if not enabled:
        write_none(Path(crops.path))
        return
    report = run(Path(images.path), Path(annotations.path), Path(crops.path), options)
    counts = {
        "crops": report.crops,
        "images": report.images,
        "without_face": report.without_face,
        "unaligned": report.unaligned,
    }
    log_metrics(metrics, counts)
    log_metrics(metrics, report.failed, prefix="failed/")
