"""The pipeline of batch prediction: raw photos and registered models in, one table out."""

from typing import TYPE_CHECKING

from pipelines.parameters.batch_prediction import BatchPredictionConfig

if TYPE_CHECKING:
    from pipelines.parts.data import Configure


def batch_prediction(p: BatchPredictionConfig, configure: "Configure") -> None:
    """Read photos, labeled or not, run models over them shard by shard, and write one table."""
    from kfp import dsl

    from components.detect_faces.component import detection_shards
    from components.predict.component import gather_predictions, predict_shard, resolve_models
    from pipelines.parts.data import read_photos

    data = read_photos(p, configure)
    task = detection_shards(annotations=data.annotations, images_per_shard=p.photos_per_shard)
    numbers = configure(task, "Count the shards").outputs["Output"]
    # An alias may have moved since the last run, and may move before the last shard.
    models = configure(resolve_models(models=p.models), "Name the versions").set_caching_options(False).output
    with dsl.ParallelFor(numbers, name="shard") as shard:
        task = predict_shard(
            images=data.images,
            annotations=data.annotations,
            models=models,
            shard=shard,
            images_per_shard=p.photos_per_shard,
            combine=p.combine,
            tta=p.tta,
            max_failed=p.max_failed,
        )
        # What is at an address may have changed since the last run.
        predictions = configure(task, "Predict photos").set_caching_options(False).outputs["predictions"]
    task = gather_predictions(
        predictions=dsl.Collected(predictions), annotations=data.annotations, format=p.table_format
    )
    configure(task, "Write the table")
