"""KFP component of the data report."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def data_report(
    images: Input[Dataset],
    annotations: Input[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
    label_space: str = "mask_gender_age",
) -> None:
    """Report on a data set: counts, sizes, duplicates, leaks, agreement of annotators and example faces.

    Args:
        images: Folder of image archives.
        annotations: COCO JSON file about them.
        report: Self-contained HTML page.
        metrics: Images, faces, persons, classes, imbalance, duplicates, crossing persons, dropped, missing.
        label_space: Name of the label space whose classes are counted and shown; empty counts faces alone.
    """
    from pathlib import Path

    from components.data_report.data_report import data_report as run
    from components.shared.metrics.step import log_metrics

    result = run(Path(images.path), Path(annotations.path), Path(report.path), label_space=label_space)
    log_metrics(metrics, result)
