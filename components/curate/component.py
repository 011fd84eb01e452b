"""The KFP door of curate."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def curate(
    annotations: Input[Dataset],
    curated_annotations: Output[Dataset],
    metrics: Output[Metrics],
    operations: list[dict[str, Any]] = [],  # noqa: B006
) -> None:
    """Sample, correct, merge and clean annotations; no image is touched.

    Args:
        annotations: COCO JSON file to curate.
        curated_annotations: Written: the annotations that come out, with a record of what was done.
        metrics: Written: images, faces and persons left, images dropped by reason, and the counts of every operation.
        operations: The operations, in order: {name: options} with sample, corrections, drop_ages, merge, sync or drop.
    """
    from pathlib import Path

    from components.curate.curate import curate as run

    report = run(Path(annotations.path), Path(curated_annotations.path), operations)
    metrics.log_metric("images", float(report.images))
    metrics.log_metric("faces", float(report.faces))
    metrics.log_metric("persons", float(report.persons))
    for reason, count in report.dropped.items():
        metrics.log_metric(f"dropped/{reason}", float(count))
    for number, entry in enumerate(report.operations, start=1):
        for name, count in entry.counts.items():
            metrics.log_metric(f"{number}_{entry.operation}/{name}", float(count))
