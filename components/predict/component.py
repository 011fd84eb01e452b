"""The KFP components that run models over photos: a split, a shard of any photos, and the table of all shards."""

from typing import Optional

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def predict(
    model: Input[Model],
    images: Input[Dataset],
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    annotations: Optional[Input[Dataset]] = None,
    split: str = "test",
    max_failed: int = 0,
    tta: list[str] = [],  # noqa: B006
    may_be_empty: bool = False,
) -> None:
    """Run the exported model over a split, through the code that serves it: a classifier or a detector.

    Args:
        model: Folder with model.onnx; or a folder with the folders of several classifiers, such as folds, whose
            probabilities are averaged.
        images: Image archives; without annotations also a folder tree or a ZIP archive of pictures.
        predictions: CSV with a row per face and every probability of every head; of a detector a row per found box, of
            several labels also of each label.
        metrics: Counts of predicted faces (of a detector those that it finds), their images, and failures.
        annotations: COCO JSON with the faces and their splits; without, all pictures, for a classifier one face each.
        split: Which images: test, val, train or all.
        max_failed: How many faces, of a detector how many images, may fail to decode before the step fails.
        tta: Views of each face besides itself whose probabilities are averaged with its own: flip, scale:1.1,
            multiply:0.9, rotate:180, each with a number of one's own; none by default.
        may_be_empty: Write a table without a row where the split is empty, in place of failing.
    """
    from pathlib import Path

    from components.predict.predict import predict
    from components.shared.metrics.step import log_metrics

    report = predict(
        Path(model.path),
        Path(images.path),
        Path(annotations.path) if annotations is not None else None,
        Path(predictions.path),
        split=split,
        max_failed=max_failed,
        tta=tta,
        may_be_empty=may_be_empty,
    )
    counts = {
        "faces": report.faces,
        "images": report.images,
        "failed": sum(report.failed.values()),
    }
    log_metrics(metrics, counts)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def resolve_models(models: list[str]) -> list[str]:
    """Name the versions of registered models, so that all shards run the same ones, whatever is promoted meanwhile.

    Args:
        models: Addresses, models:/name@alias, s3://bucket/path or a path.

    Returns:
        Output: The same, with models:/name/version in place of an alias.
    """
    from components.predict.shard import resolve_models

    return resolve_models(models)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def predict_shard(
    images: Input[Dataset],
    annotations: Input[Dataset],
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    models: list[str],
    shard: int = -1,
    images_per_shard: int = 2000,
    combine: str = "mean",
    tta: list[str] = [],  # noqa: B006
    max_failed: int = 0,
) -> None:
    """Run models over the photos of one shard, labeled or not.

    Args:
        images: Image archives.
        annotations: COCO JSON with the photos. Classifiers see their faces; where the data have none at all, each photo
            is one.
        predictions: Written: JSON lines, first what the models are, then a line per photo with its faces.
        metrics: Written: photos, faces, and failures.
        models: Addresses, models:/name@alias, s3://bucket/path or a path: one or several classifiers, or one detector
            or composite, which find the faces.
        shard: Which shard, from 0 on, by the order of the image ids; -1 for all photos.
        images_per_shard: As in detection_shards.
        combine: How several classifiers are combined: mean or log_mean, the geometric mean.
        tta: Views of each face besides itself: flip, scale:1.1, multiply:0.9, rotate:180; none by default.
        max_failed: How many faces of the shard may fail before the step fails; of models that find faces, photos.
    """
    from pathlib import Path

    from components.predict.shard import predict_shard as run
    from components.shared.metrics.step import log_metrics

    counts = run(
        Path(images.path),
        Path(annotations.path),
        Path(predictions.path),
        models,
        shard=shard,
        images_per_shard=images_per_shard,
        combine=combine,
        tta=tta,
        max_failed=max_failed,
    )
    log_metrics(metrics, counts)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def gather_predictions(
    predictions: Input[list[Dataset]],
    annotations: Input[Dataset],
    table: Output[Dataset],
    metrics: Output[Metrics],
    format: str = "csv",  # noqa: A002
) -> None:
    """Put the predictions of all shards into one table, and check that no photo is missing.

    Args:
        predictions: What predict_shard wrote for every shard.
        annotations: COCO JSON with the photos that the shards are of.
        table: Written: a row per face with path, box, class and every probability.
        metrics: Written: photos, faces, and photos without a face.
        format: csv, parquet or json.
    """
    from pathlib import Path

    from components.predict.gather import gather_predictions as run
    from components.shared.metrics.step import log_metrics

    parts = [Path(part.path) for part in predictions]
    log_metrics(metrics, run(parts, Path(annotations.path), Path(table.path), format=format))
