"""The KFP component of the predict step."""

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
    batch_size: int = 64,
    max_failed: int = 0,
) -> None:
    """Run the exported model over a split, through the code that serves it: a classifier or a detector.

    Args:
        model: Folder with model.onnx.
        images: Image archives; without annotations also a folder tree or a ZIP archive of pictures.
        predictions: CSV with a row per face and every probability of every head; of a detector a row per found box, of
            several labels also of each label.
        metrics: Counts of predicted faces (of a detector those that it finds), their images, and failures.
        annotations: COCO JSON with the faces and their splits; without, all pictures, for a classifier one face each.
        split: Which images: test, val, train or all.
        batch_size: Faces per run of a classifier; a detector searches each photo alone.
        max_failed: How many faces, of a detector how many images, may fail to decode before the step fails.
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
        batch_size=batch_size,
        max_failed=max_failed,
    )
    counts = {
        "faces": report.faces,
        "images": report.images,
        "failed": sum(report.failed.values()),
    }
    log_metrics(metrics, counts)
