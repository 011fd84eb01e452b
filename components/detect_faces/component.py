"""The KFP components that find faces: adopt the detectors, make shards, detect, choose, draw."""

from typing import Any, Optional

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def adopt_detectors(
    detectors: Output[Model],
    metrics: Output[Metrics],
    chain: list[Any],
    trained: Optional[Input[Model]] = None,
) -> None:
    """Gather all that a chain of detectors needs in one folder, and check that each of them works.

    Args:
        detectors: Written: folder with chain.json, the models, weights and tables.
        metrics: Written: number of members, and bytes of the folder.
        chain: The detectors in order, {name: options} each, with onnx, trained, dlib_hog, dlib_cnn, table or
            annotations. A later one sees the photos in which the earlier ones found no plausible face.
        trained: Folder with the model.onnx of a detector, which is the member trained of the chain.
    """
    from pathlib import Path

    from components.detect_faces.adopt import adopt_detectors as run
    from components.shared.metrics.step import log_metrics

    log_metrics(metrics, run(Path(detectors.path), chain, Path(trained.path) if trained is not None else None))


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def detection_shards(annotations: Input[Dataset], images_per_shard: int = 20000) -> list[int]:
    """Count the shards that the images of a data set are detected in, several at once on a cluster.

    Args:
        annotations: COCO JSON file about the images.
        images_per_shard: As many images are in one shard.

    Returns:
        Output: The numbers of the shards, from 0 on. KFP's local runner loops over an output of this name only.
    """
    from pathlib import Path

    from components.detect_faces.shards import detection_shards as run

    return run(Path(annotations.path), images_per_shard)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def detect_faces(
    images: Input[Dataset],
    detectors: Input[Model],
    detections: Output[Dataset],
    metrics: Output[Metrics],
    annotations: Optional[Input[Dataset]] = None,
    shard: int = -1,
    images_per_shard: int = 20000,
    options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Find the faces in the images of one shard, or of all, with a chain of detectors.

    Args:
        images: Image archives; without annotations also a folder tree or a ZIP archive of photos.
        detectors: Folder of adopt_detectors.
        detections: Written: JSON lines, one per image, with every face found and why one is implausible.
        metrics: Written: images, failed images, faces, implausible faces, and images by the detector that found them.
        annotations: COCO JSON with the images; without, every photo is an image.
        shard: Which shard, from 0 on, by the order of the image ids; -1 for all images.
        images_per_shard: As in detection_shards.
        options: min_side, min_share, max_share and min_inside of a plausible box; max_failed.
    """
    from pathlib import Path

    from components.detect_faces.detect import detect_faces as run
    from components.shared.metrics.step import log_metrics

    counts = run(
        Path(images.path),
        Path(detectors.path),
        Path(detections.path),
        annotations=Path(annotations.path) if annotations is not None else None,
        shard=shard,
        images_per_shard=images_per_shard,
        options=options,
    )
    log_metrics(metrics, counts)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def choose_faces(
    images: Input[Dataset],
    detections: Input[list[Dataset]],
    detected_annotations: Output[Dataset],
    listing: Output[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
    annotations: Optional[Input[Dataset]] = None,
    options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Give the annotated faces the boxes that were found; every image is kept or listed.

    Args:
        images: What detect_faces read.
        detections: JSON lines of detect_faces, one file for each shard.
        detected_annotations: Written: COCO JSON with the chosen boxes, scores and keypoints, and how each was found.
        listing: Written: JSON with the images that were dropped and those where the detectors were unsure, with
            reasons.
        report: Written: HTML page with counts, the first faces of every class and the unsure images, boxes drawn.
        metrics: Written: images, faces, dropped images and faces, images by method, dropped and unsure ones by reason.
        annotations: COCO JSON that the boxes go into; without, every photo is one face without a label.
        options: fallback (drop, person_mean or whole_image), choose (score, largest, best_iou or all), min_iou, center,
            near_threshold, max_failed, label_space, per_class.
    """
    from pathlib import Path

    from components.detect_faces.choose import choose_faces as run
    from components.shared.metrics.step import log_metrics

    counts = run(
        Path(images.path),
        [Path(shard.path) for shard in detections],
        Path(detected_annotations.path),
        Path(listing.path),
        Path(report.path),
        annotations=Path(annotations.path) if annotations is not None else None,
        options=options,
    )
    log_metrics(metrics, counts)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def draw_faces(
    images: Input[Dataset],
    annotations: Input[Dataset],
    pictures: Output[Dataset],
    metrics: Output[Metrics],
    label_space: str = "",
    per_class: int = 0,
) -> None:
    """Write copies of photos with the boxes and keypoints of their faces drawn.

    Args:
        images: Image archives, a folder tree or a ZIP archive of photos.
        annotations: COCO JSON with the faces.
        pictures: Written: folder with a JPEG file for each photo, under its name.
        metrics: Written: photos drawn, and photos that could not be.
        label_space: Draws the first photos of every class of this label space; empty draws the first of all photos.
        per_class: How many photos of every class, or in all without a label space; 0 for all.
    """
    from pathlib import Path

    from components.detect_faces.draw import draw_faces as run
    from components.shared.metrics.step import log_metrics

    counts = run(
        Path(images.path),
        Path(annotations.path),
        Path(pictures.path),
        label_space=label_space,
        per_class=per_class,
    )
    log_metrics(metrics, counts)
