"""Whether predictions are those of a model."""

from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import Predictions
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError
from serving.runtime.predictor import Classifier

_DIGITS = 12


def check_predicted_by(table: Predictions | Detections, model: Classifier | Detector, *, registered: str = "") -> None:
    """Raise InputError unless a model has made predictions.

    They name it by the first 12 digits of its sha256 or, where it came from the registry, by its version there. With
    further views of each face, or of several models together, they are of none of them alone.

    Args:
        table: the predictions.
        model: the model; its own version is that of the registry where it was read from there.
        registered: the version of a file in the registry, where that is known otherwise.
    """
    if table.version not in {model.sha256[:_DIGITS], model.version, registered or model.version}:
        raise InputError(
            f"the predictions are of model '{table.model}' {table.version or 'without a version'}, not of "
            f"'{model.card.name}' with sha256 {model.sha256[:_DIGITS]}: pass the predictions of this model alone, "
            "without further views"
        )
