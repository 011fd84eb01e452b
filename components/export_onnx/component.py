"""KFP components of export_onnx."""

from typing import Any

from kfp import dsl
from kfp.dsl import Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.TRAIN, install_kfp_package=False)
def export_onnx(
    checkpoints: Input[Model],
    model: Output[Model],
    metrics: Output[Metrics],
    name: str,
    checkpoint: str = "best",
    notify_threshold: float = 0.5,
    features: bool = False,
) -> None:
    """Turn a checkpoint into a self-describing model.onnx and check that both give the same probabilities.

    Args:
        checkpoints: The checkpoints folder that train_classifier wrote.
        model: A folder with model.onnx.
        metrics: The largest difference between the probabilities of ONNX Runtime and torch.
        name: The model's name, under which it is registered and served.
        checkpoint: Which checkpoint: best, last or the stem of another file in the folder.
        notify_threshold: From which probability on the endpoint notices a mask that is missing or worn wrongly.
        features: Whether the graph gives the network's last feature map too, for people who look at it; a network
            without one, such as a transformer, is an error.
    """
    from pathlib import Path

    from components.export_onnx.export import export
    from components.shared.metrics.step import log_metrics

    result = export(
        Path(checkpoints.path),
        Path(model.path),
        checkpoint=checkpoint,
        name=name,
        notify_threshold=notify_threshold,
        features=features,
    )
    log_metrics(metrics, {"max_difference": result.max_difference})
    model.metadata["sha256"] = result.sha256


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def adopt_detector(
    model: Output[Model],
    metrics: Output[Metrics],
    weights: str,
    name: str,
    options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Turn a face detector's ONNX file, YuNet or UltraFace, into a self-describing model.onnx with the same results.

    Args:
        model: A folder with model.onnx.
        metrics: The largest difference between the outputs of both graphs.
        weights: The detector: a path, s3:// or a registered model. A Facet detector is copied.
        name: The detector's name.
        options: score, nms_iou and max_detections in place of the published ones; height and width of the largest
            input, where it is free.
    """
    from pathlib import Path

    from components.export_onnx.adopt import adopt
    from components.shared.metrics.step import log_metrics

    result = adopt(weights, Path(model.path), name=name, options=options)
    log_metrics(metrics, {"max_difference": result.max_difference})
    model.metadata.update({"sha256": result.sha256, "kind": result.kind})
