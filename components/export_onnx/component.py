"""KFP component of export_onnx."""

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
) -> None:
    """Turn a checkpoint into a self-describing model.onnx and check that both give the same probabilities.

    Args:
        checkpoints: The checkpoints folder that train_classifier wrote.
        model: A folder with model.onnx.
        metrics: The largest difference between the probabilities of ONNX Runtime and torch.
        name: The model's name, under which it is registered and served.
        checkpoint: Which checkpoint: best, last or the stem of another file in the folder.
    """
    from pathlib import Path

    from components.export_onnx.export import export
    from components.shared.metrics.step import log_metrics

    result = export(Path(checkpoints.path), Path(model.path), checkpoint=checkpoint, name=name)
    log_metrics(metrics, {"max_difference": result.max_difference})
    model.metadata["sha256"] = result.sha256
