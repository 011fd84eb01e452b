"""The parameters of the cross-validation pipeline."""

from collections.abc import Iterator, Mapping, Set
from typing import ClassVar, Literal

from pydantic import Field

from pipelines.parameters.faces import FaceParameters
from pipelines.parameters.model import TrainingParameters
from serving.runtime.validation import Problem


class CrossValidationConfig(TrainingParameters):
    """The parameters of the cross-validation pipeline."""

    without: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("precision", "calibration_faces", "temperature", "false_alarm_rate"),
        "is for a model that is registered, and a cross-validation registers none: leave it out",
    )

    pipeline: Literal["cross_validation", "cross_validation_faces"] = "cross_validation"
    folds: int = Field(default=5, ge=2, description="How many folds the people are put into, each person into one.")
    k_index: int = Field(default=-1, ge=-1, description="The fold to evaluate, counted from 0; -1 for all of them.")

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields."""
        yield from super().problems(wrong)
        if self.k_index >= self.folds and not wrong & {"folds", "k_index"}:
            message = f"there are {self.folds} folds, 0 to {self.folds - 1}, or -1 for all"
            yield Problem(("k_index",), self.k_index, message)
        if self.folds == 2 and self.checkpoint != "last" and "folds" not in wrong:
            message = "nothing is left beside the folds for test and val: 3 or more, or checkpoint: last, without val"
            yield Problem(("folds",), self.folds, message)


class CrossValidationFacesConfig(FaceParameters, CrossValidationConfig):
    """The parameters of the cross-validation pipeline that finds the faces first."""

    pipeline: Literal["cross_validation_faces"] = "cross_validation_faces"
