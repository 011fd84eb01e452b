"""The KFP door of ingest."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def ingest(
    source: str,
    images: Output[Dataset],
    annotations: Output[Dataset],
    metrics: Output[Metrics],
    format: str = "auto",  # noqa: A002
    options: dict[str, Any] = {},  # noqa: B006
    source_digest: str = "",
) -> None:
    """Read raw face photos into an image archive and COCO annotations.

    Args:
        source: Folder, archive (.zip, .tar, .tar.gz, .tgz) or s3:// address of the raw data.
        images: Written: the folder of uncompressed ZIP archives with the photos.
        annotations: Written: the COCO JSON file with one annotation per face.
        metrics: Written: counts of images, faces, persons and of what was left out.
        format: Layout of the raw data; auto recognizes it. docs/data.md lists all, such as class_folder, coco and voc.
        options: Options of that layout, such as max_dropped, attribute, manifest, columns or rename.
        source_digest: Digest of the source's listing; a changed one makes the cluster's cache miss.
    """
    from pathlib import Path

    from components.ingest.ingest import ingest as run
    from components.shared.metrics.step import log_metrics

    info = run(
        source, Path(images.path), Path(annotations.path), format=format, options=options, source_digest=source_digest
    )
    counts = {
        "images": info.counts.images,
        "faces": info.counts.faces,
        "persons": info.counts.persons,
        "lost_images": sum(info.dropped.values()),
        "lost_faces": sum(info.lost.values()),
        "not_part_of_the_data": sum(info.skipped.values()),
    }
    log_metrics(metrics, counts)
