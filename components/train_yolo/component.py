"""KFP components of train_yolo, the only step with ultralytics (AGPL-3.0)."""

from typing import Any, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.YOLO, install_kfp_package=False)
def train_yolo(
    images: Input[Dataset],
    annotations: Input[Dataset],
    checkpoints: Output[Model],
    exported: Output[Model],
    metrics: Output[Metrics],
    name: str,
    task: str = "detect",
    label_space: str = "",
    model: str = "yolo11n.yaml",
    epochs: int = 100,
    batch: int = 16,
    imgsz: int = 640,
    seed: int = 0,
    training: dict[str, Any] = {},  # noqa: B006
    experiment: str = "",
    run_name: str = "",
    crops: Optional[Input[Dataset]] = None,
) -> NamedTuple("Outputs", run_id=str):  # type: ignore[valid-type]
    """Train a face detector or a classifier of faces with ultralytics and export its best epoch as ONNX.

    Args:
        images: The image archive.
        annotations: COCO annotations whose images are assigned to train, val and test.
        checkpoints: A folder with best.pt, last.pt, what led to them, TensorBoard events and ultralytics' own outputs.
        exported: A folder with model.onnx.
        metrics: The metrics of the best epoch on the val split.
        name: The model's name, under which it is registered and served.
        task: What to train: detect or classify.
        label_space: The classes: for a detector empty for the one class face; a classifier needs one, such as emotion.
        model: A .yaml of ultralytics such as yolo11n.yaml for random weights, or a .pt to start from.
        epochs: Passes over the train split.
        batch: Pictures in a training step.
        imgsz: Height and width of the network's input in pixels, a multiple of 32.
        seed: Seed of every random draw.
        training: Further options of the training, such as optimizer, lr or a key of ultralytics; the parameters above
            win.
        experiment: MLflow experiment of the training's run; by default facet- and the label space.
        run_name: What the training is where it is one of several: it begins the name of the MLflow run.
        crops: For a classifier: the faces, cut out before, as an image archive with annotations.json. Without it, or
            when it is empty, faces are cut from the images.

    Returns:
        run_id: The MLflow run of this training, empty without a tracking server.
    """
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.train_yolo.config import resolve_config

    config = resolve_config(
        training,
        task=task,
        label_space=label_space,
        model=model,
        epochs=epochs,
        batch=batch,
        imgsz=imgsz,
        seed=seed,
    )
    from components.train_yolo.train import train  # seconds, which a wrong configuration should not take

    result = train(
        config,
        Path(images.path),
        Path(annotations.path),
        Path(checkpoints.path),
        Path(exported.path),
        name=name,
        crops=Path(crops.path) if crops else None,
        experiment=experiment,
        run_name=run_name,
    )
    log_metrics(metrics, {**result.metrics, "best_epoch": float(result.best_epoch)})
    exported.metadata["sha256"] = result.sha256
    return (result.run_id,)


@dsl.component(base_image=container_images.YOLO, install_kfp_package=False)
def export_yolo(
    exported: Output[Model],
    metrics: Output[Metrics],
    weights: str,
    name: str,
    label_space: str = "",
    options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Turn a checkpoint of ultralytics, a .pt, into a self-describing model.onnx and check that both give the same.

    Args:
        exported: A folder with model.onnx.
        metrics: The largest differences between the model in torch and in ONNX Runtime, of scores, and of boxes in
            pixels of the input.
        weights: A .pt of a detector, a pose model of faces or a classifier, a path or s3://. It is a pickle.
        name: The model's name, under which it is registered and served.
        label_space: What the classes mean, such as mask; a classifier needs one. A detector of one class finds faces.
        options: imgsz in place of that of the training; conf, iou and max_detections of a detector; crop_scale of a
            classifier; trust_weights for a .pt whose code may run, needed for s3://; download_weights for one that
            ultralytics publishes.
    """
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.train_yolo.export import export_weights

    result = export_weights(weights, Path(exported.path), name=name, label_space=label_space, options=options)
    log_metrics(metrics, result.metrics)
    exported.metadata["sha256"] = result.sha256
