"""The KFP components of the evaluate step: one model, and the folds of a cross-validation."""

from typing import NamedTuple, Optional

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
    images: Optional[Input[Dataset]] = None,
    floors: dict[str, float] = {},  # noqa: B006
    run_id: str = "",
    max_missing: int = 0,
    others_hold: bool = True,
) -> NamedTuple("Outputs", Output=bool, metrics_json=str):  # type: ignore[valid-type]
    """Score predictions against the labels, write a report and check the floors.

    Args:
        predictions: CSV of the predict step.
        annotations: The annotations that were predicted, or a CSV table of ImageID and class number (ans).
        metrics: Scalar metrics.
        confusion: Confusion matrix, rows truth, columns prediction.
        report: Self-contained HTML page.
        images: Image archives: the report of a detector shows its misses and false alarms; without, it does not.
        floors: Lowest accepted value by metric name, such as macro_f1, or map50 of a detector; all must hold.
        run_id: MLflow run that gets the metrics and the report; empty for none.
        max_missing: How many faces of the predicted splits may lack a prediction; of a detector how many images.
        others_hold: Whether the floors of the models hold that this one is served with, such as its detector.

    Returns:
        Output: True when all floors hold, those of the others too. In a condition on one of several outputs, KFP's
            local runner finds only one of this name.
        metrics_json: The scalar metrics as a JSON object.
    """
    import json
    from pathlib import Path

    from components.evaluate.evaluate import evaluate
    from components.shared.metrics.step import log_metrics

    result = evaluate(
        Path(predictions.path),
        Path(annotations.path),
        Path(report.path),
        floors=floors,
        run_id=run_id,
        max_missing=max_missing,
        images=Path(images.path) if images is not None else None,
        others_hold=others_hold,
    )
    log_metrics(metrics, result.metrics)
    confusion.log_confusion_matrix(list(result.labels), result.confusion)
    return (result.passed, json.dumps(result.metrics, sort_keys=True))


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def evaluate_folds(
    predictions: Input[list[Dataset]],
    annotations: Input[Dataset],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
    run_ids: list[str] = [],  # noqa: B006
) -> NamedTuple("Outputs", metrics_json=str, run_id=str):  # type: ignore[valid-type]
    """Evaluate the folds of a cross-validation: mean and spread, and out-of-fold metrics of all faces.

    Args:
        predictions: CSV of the predict step for each of the folds.
        annotations: The annotations whose images have folds.
        metrics: Mean, deviation and extremes of every metric over the folds, and the metrics of all faces together.
        confusion: Confusion matrix of all faces together, rows truth, columns prediction.
        report: Self-contained HTML page.
        run_ids: MLflow run of the training of each fold.

    Returns:
        metrics_json: The metrics as a JSON object.
        run_id: The parent of the folds' MLflow runs, empty without a tracking server.
    """
    import json
    from pathlib import Path

    from components.evaluate.folds import evaluate_folds
    from components.shared.metrics.step import log_metrics

    result = evaluate_folds(
        [Path(table.path) for table in predictions], Path(annotations.path), Path(report.path), run_ids=run_ids
    )
    log_metrics(metrics, result.metrics())
    confusion.log_confusion_matrix(list(result.labels), result.confusion)
    return (json.dumps(result.metrics(), sort_keys=True), result.run_id)
