"""The KFP component of the promote step."""

from typing import NamedTuple, Optional

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def promote(
    model: Input[Model],
    predictions: Input[Dataset],
    images: Input[Dataset],
    annotations: Input[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
    name: str,
    version: str,
    detector_model: Optional[Input[Model]] = None,
    detector_predictions: Optional[Input[Dataset]] = None,
    detector_annotations: Optional[Input[Dataset]] = None,
    alias: str = "champion",
    floors_hold: bool = True,
    confidence: float = 0.95,
    composite: str = "",
    composite_version: str = "",
    detector: str = "",
    detector_version: str = "",
    run_id: str = "",
) -> NamedTuple("Outputs", promoted=bool, reason=str):  # type: ignore[valid-type]
    """Compare a registered version with the champion on the same test faces; where it is better, move the alias to it.

    Args:
        model: Folder with the candidate's model.onnx.
        predictions: Those of the candidate on the test split.
        images: Image archives.
        annotations: COCO JSON that was predicted.
        report: Self-contained HTML page.
        metrics: The scores of both, and how sure the difference is.
        name: Name of the model in the registry.
        version: The candidate's version.
        detector_model: Folder with the model.onnx of the detector that was trained with the model; it is compared too.
        detector_predictions: Those of the detector on the test split; without, it moves without a comparison.
        detector_annotations: COCO JSON that the detector predicted; without, annotations.
        alias: The alias, champion by default. It moves to the composite and the detector too.
        floors_hold: Whether the floors hold; the champion stays where they do not.
        confidence: Share of the resamples in which a better model scores higher, above 0.5 and at most 1.
        composite: Name of the composite in the registry; empty for none.
        composite_version: Its version; empty for none.
        detector: Name of the detector in the registry that was trained with the model; empty for none.
        detector_version: Its version; empty for none.
        run_id: MLflow run that gets the metrics and the report; empty for none.

    Returns:
        promoted: Whether the version has the alias now.
        reason: Why, in a sentence.
    """
    from pathlib import Path

    from components.promote.promote import promote
    from components.shared.metrics.step import log_metrics

    outcome = promote(
        Path(model.path),
        Path(predictions.path),
        Path(images.path),
        Path(annotations.path),
        Path(report.path),
        name=name,
        version=version,
        alias=alias,
        floors_hold=floors_hold,
        confidence=confidence,
        composite=composite,
        composite_version=composite_version,
        detector=detector,
        detector_version=detector_version,
        detector_model=Path(detector_model.path) if detector_model is not None else None,
        detector_predictions=Path(detector_predictions.path) if detector_predictions is not None else None,
        detector_annotations=Path(detector_annotations.path) if detector_annotations is not None else None,
        run_id=run_id,
        address=model.uri,
    )
    log_metrics(metrics, outcome.metrics())
    return (outcome.promoted, outcome.reason)
