"""The KFP component of the quantize step."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def quantize(
    model: Input[Model],
    images: Input[Dataset],
    annotations: Input[Dataset],
    quantized: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    precision: str = "int8",
    calibration_faces: int = 256,
    max_f1_drop: float = 0.01,
    seed: int = 0,
) -> NamedTuple("Outputs", Output=bool):  # type: ignore[valid-type]
    """Turn an exported classifier into int8 or fp16, and compare both: size, speed, labels and macro F1.

    Args:
        model: Folder with model.onnx, a classifier in fp32.
        images: Image archives.
        annotations: COCO JSON with labeled faces whose images are assigned to train and val.
        quantized: A folder with model.onnx.
        metrics: Of both files macro F1, size and images/s; the agreement of their labels, the speedup.
        report: Self-contained HTML page.
        precision: What the new model computes in: int8 (faster on CPUs) or fp16 (for GPUs).
        calibration_faces: On how many faces of the train split int8 is calibrated, at most.
        max_f1_drop: By how much macro F1 on the val split may fall; without a val split, on faces of train.
        seed: Another seed draws other faces.

    Returns:
        Output: Whether macro F1 falls by no more than that.
    """
    from pathlib import Path

    from components.quantize.quantize import quantize as run
    from components.shared.metrics.step import log_metrics

    result = run(
        Path(model.path),
        Path(images.path),
        Path(annotations.path),
        Path(quantized.path),
        Path(report.path),
        precision=precision,
        calibration_faces=calibration_faces,
        max_f1_drop=max_f1_drop,
        seed=seed,
    )
    log_metrics(metrics, result.metrics)
    quantized.metadata.update({"sha256": result.sha256, "precision": precision})
    return (result.kept,)
