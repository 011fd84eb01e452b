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
    from components.shared.metrics.step import log_metrics

    report = run(Path(annotations.path), Path(curated_annotations.path), operations)
    counts = {"images": report.images, "faces": report.faces, "persons": report.persons}
    log_metrics(metrics, counts)
    log_metrics(metrics, report.dropped, prefix="dropped/")
    for number, entry in enumerate(report.operations, start=1):
        log_metrics(metrics, entry.counts, prefix=f"{number}_{entry.operation}/")
