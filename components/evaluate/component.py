"""The KFP components of the evaluate step: one model, and the folds of a cross-validation."""

from typing import NamedTuple, Optional

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def evaluate(
    predictions: Input[Dataset],
    annotations: Input[Dataset],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
    details: Output[Artifact],
    images: Optional[Input[Dataset]] = None,
    model: Optional[Input[Model]] = None,
    floors: dict[str, float] = {},  # noqa: B006
    run_id: str = "",
    max_missing: int = 0,
    others_hold: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    label_space: str = "mask_gender_age",
) -> NamedTuple("Outputs", Output=bool, metrics_json=str):  # type: ignore[valid-type]
    """Score predictions against the labels, write a report and check the floors.

    Args:
        predictions: CSV of the predict step; for a table of class numbers also one of ImageID and class number (ans).
        annotations: The annotations that were predicted, or a CSV table of ImageID and class number (ans).
        metrics: Scalar metrics.
        confusion: Confusion matrix, rows truth, columns prediction; of a decision between two also its ROC curve.
        report: Self-contained HTML page.
        details: Folder with metrics, intervals, classes, slices, curves and mistakes as JSON, CSV and PNG.
        images: Image archives: the report shows the worst mistakes; without, it does not.
        model: The exported model: its card has the threshold of the mask notice, and where it looked is shown.
        floors: Lowest accepted value by metric name, such as macro_f1, or map50 of a detector; all must hold.
        run_id: MLflow run that gets the metrics and the report; empty for none.
        max_missing: How many faces of the predicted splits may lack a prediction; of a detector how many images.
        others_hold: Whether the floors of the models hold that this one is served with, such as its detector.
        resamples: How often persons are drawn anew for the confidence intervals; 0 for none.
        seed: Of these draws.
        label_space: Whose classes the numbers of a table of class numbers are, such as mask; other predictions say it.

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
        details=Path(details.path),
        images=Path(images.path) if images is not None else None,
        model=Path(model.path) if model is not None else None,
        others_hold=others_hold,
        resamples=resamples,
        seed=seed,
        label_space=label_space,
    )
    log_metrics(metrics, result.metrics)
    confusion.log_confusion_matrix(list(result.labels), result.confusion)
    if result.roc is not None:
        confusion.log_roc_curve(result.roc.x.tolist(), result.roc.y.tolist(), result.roc.thresholds.tolist())
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
