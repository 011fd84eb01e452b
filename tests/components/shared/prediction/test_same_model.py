"""Whether predictions are those of a model."""

from pathlib import Path

import numpy as np
import pytest
from register_models import write_model

from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.prediction.same_model import check_predicted_by
from serving.runtime.errors import InputError
from serving.runtime.load import load_model
from serving.runtime.predictor import Classifier


@pytest.mark.parametrize(
    ("version", "registered", "fits"),
    [
        ("{sha}", "", True), ("{sha}", "3", True), ("3", "3", True), ("3", "", False), ("", "", False),
        ("", "3", False), ("2", "3", False), ("{sha:.1}", "", False), ("0" * 12, "3", False),
    ],
)  # fmt: skip
def test_predictions_name_their_model(version: str, registered: str, fits: bool, tmp_path: Path) -> None:
    model = load_model(str(write_model(tmp_path / "m")))
    assert isinstance(model, Classifier)
    space = label_space("mask")
    named = version.format(sha=model.sha256[:12])
    table = Predictions((PredictedFace(1, 1, "1.png", None),), {"mask": np.eye(3)[:1]}, space, "tiny", named)
    if fits:
        check_predicted_by(table, model, registered=registered)
    else:
        with pytest.raises(InputError, match="the predictions are of model 'tiny' .*: pass the predictions of this"):
            check_predicted_by(table, model, registered=registered)
