"""The KFP component of the register step."""

from typing import Any, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def register(
    model: Input[Model],
    name: str,
    metrics_json: str,
    predictions: Optional[Input[Dataset]] = None,
    detectors: Optional[Input[Model]] = None,
    details: Optional[Input[Artifact]] = None,
    run_id: str = "",
    detect_options: dict[str, Any] = {},  # noqa: B006
    composite: str = "",
    detector: str = "",
    detector_version: str = "",
    floors: dict[str, float] = {},  # noqa: B006
) -> NamedTuple("Outputs", version=str, composite_version=str):  # type: ignore[valid-type]
    """Register the exported model as a new version with the alias candidate, once for each run and file.

    Args:
        model: Folder with model.onnx.
        name: Name of the model in the registry.
        metrics_json: Scalar metrics as a JSON object, as evaluate returns them.
        predictions: Those of the test split: what the endpoint compares with what it sees.
        detectors: Folder of adopt_detectors. Those with a graph are registered too, each file once.
        details: Folder that evaluate wrote: classes, intervals and the worst group go on the page of the model.
        run_id: MLflow run that trained the model; empty opens one.
        detect_options: Those of detect_faces; what is no plausible box there is no face of the composite.
        composite: Name in the registry of the detectors and the model as one; empty for none.
        detector: Name of the detector of the chain that is registered already; empty for none.
        detector_version: Its version, which becomes the member of the composite.
        floors: Lowest accepted value by metric name; they go on the page of the model.

    Returns:
        version: The new version.
        composite_version: The version of the composite; empty where there is none.
    """
    from pathlib import Path

    from components.register.register import read_metrics, register

    done = register(
        Path(model.path),
        name=name,
        metrics=read_metrics(metrics_json),
        predictions=Path(predictions.path) if predictions is not None else None,
        run_id=run_id,
        detectors=Path(detectors.path) if detectors is not None else None,
        detect_options=detect_options,
        composite=composite,
        detector=detector,
        detector_version=detector_version,
        address=model.uri,
        floors=floors,
        details=Path(details.path) if details is not None else None,
    )
    return (done.version, done.composite_version)
