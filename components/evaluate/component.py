"""The KFP door of the evaluate step."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def evaluate(
    predictions: Input[Dataset],
    annotations: Input[Dataset],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
    floors: dict[str, float] = {},  # noqa: B006
    run_id: str = "",
    max_missing: int = 0,
) -> NamedTuple("Outputs", Output=bool, metrics_json=str):  # type: ignore[valid-type]
    """Score predictions against the labels, write a report and say whether the floors hold.

    Args:
        predictions: CSV of the predict step.
        annotations: The annotations that were predicted.
        metrics: Scalar metrics.
        confusion: Confusion matrix, rows truth, columns prediction.
        report: Self-contained HTML page.
        floors: Lowest accepted value by metric name, such as macro_f1; all must hold.
        run_id: MLflow run that gets the metrics and the report; empty for none.
        max_missing: How many faces of the predicted splits may lack a prediction.

    Returns:
        Output: True when all floors hold. Of several outputs, KFP's local runner finds only one of this name in a
            condition.
        metrics_json: The scalar metrics as a JSON object.
    """
    import json
    from pathlib import Path

    from components.evaluate.evaluate import evaluate

    result = evaluate(
        Path(predictions.path),
        Path(annotations.path),
        Path(report.path),
        floors=floors,
        run_id=run_id,
        max_missing=max_missing,
    )
    for name, value in result.metrics.items():
        metrics.log_metric(name, float(value))
    confusion.log_confusion_matrix(list(result.labels), result.confusion)
    return (result.passed, json.dumps(result.metrics, sort_keys=True))
