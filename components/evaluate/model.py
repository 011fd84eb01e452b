"""The exported model whose predictions are evaluated, where it is given."""

import logging
from pathlib import Path

from components.shared.dataset.predictions import Predictions
from components.shared.prediction.same_model import check_predicted_by
from serving.runtime.errors import InputError
from serving.runtime.load import load_model
from serving.runtime.predictor import Classifier
from serving.runtime.registry import MODEL_FILE

_log = logging.getLogger(__name__)


def evaluated_model(model: Path | None, predicted: Predictions) -> Classifier | None:
    """Return the model that predicted; None where none is given, or several answered as one.

    Raises InputError when the model is not a classifier of the label space of the predictions, or has not made them.
    """
    if model is None:
        return None
    if model.is_dir() and not (model / MODEL_FILE).exists():
        _log.warning("%s: is not one model, so neither its threshold nor where it looked is reported", model)
        return None
    opened = load_model(str(model))
    if not isinstance(opened, Classifier) or opened.card.heads != predicted.space.heads:
        raise InputError(
            f"{model}: is not a classifier of '{predicted.space.name}', which the predictions are of: pass the model "
            "that predicted"
        )
    check_predicted_by(predicted, opened)
    return opened
