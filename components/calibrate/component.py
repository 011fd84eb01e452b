"""The KFP component of the calibrate step."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def calibrate(
    model: Input[Model],
    predictions: Input[Dataset],
    annotations: Input[Dataset],
    calibrated: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    temperature: bool = True,
    false_alarm_rate: float = 0.0,
    run_id: str = "",
) -> None:
    """Make a classifier's probabilities say how often it is right, and choose from which one on a mask is noticed.

    What the val faces do not tell stays as it is: then the model is passed through byte for byte, and the log says why.

    Args:
        model: Folder with model.onnx.
        predictions: What that model says of the val split: CSV of the predict step; without rows nothing is changed.
        annotations: The annotations that were predicted.
        calibrated: Folder with the calibrated model.onnx.
        metrics: Log loss and calibration error before and after, temperatures; miss rate and false-alarm rate of the
            notice about masks.
        report: Self-contained HTML page.
        temperature: Whether a temperature is fitted for every head.
        false_alarm_rate: Largest share of properly worn masks that may be noticed; the threshold of the notice follows
            from it. 0 keeps the model's.
        run_id: MLflow run that gets the metrics and the report; empty for none.
    """
    from pathlib import Path

    from components.calibrate.calibrate import calibrate
    from components.shared.metrics.step import log_metrics

    result = calibrate(
        Path(model.path),
        Path(predictions.path),
        Path(annotations.path),
        Path(calibrated.path),
        Path(report.path),
        temperature=temperature,
        false_alarm_rate=false_alarm_rate,
        run_id=run_id,
    )
    log_metrics(metrics, result.metrics)
    calibrated.metadata["sha256"] = result.sha256
