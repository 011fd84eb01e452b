"""The parameters of pipelines that judge a model and register it: floors, calibration, other precisions, promotion."""

from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import suppress
from typing import Any, Literal

from pydantic import Field

from components.shared.dataset.label_spaces import label_space
from components.shared.metrics.classification import LOWER_IS_BETTER, metric_names
from pipelines.parameters.model import ModelParameters, SplitParameters, no_masks
from serving.runtime.card import NOTIFY_THRESHOLD
from serving.runtime.errors import InputError
from serving.runtime.validation import Problem, known

FP32: Literal["fp32"] = "fp32"
_OF_INT8 = "calibration_faces"
_OF_OTHERS = "max_f1_drop"
_PERSON = "person"


class JudgeParameters(SplitParameters):
    """Of pipelines that split the data, evaluate models on the test split and may make them champions."""

    resamples: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="How many times the persons of the test split are drawn anew for the confidence intervals of its "
        "metrics; 0 for none.",
    )
    promotion_confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="How sure it must be, by a paired test on the same persons, that a model is better than the "
        "champion before it takes its place.",
    )


class PublishParameters(JudgeParameters, ModelParameters):
    """Of pipelines that calibrate a classifier, evaluate it on the test split and register it."""

    floors: dict[str, float] = Field(
        default_factory=lambda: {"macro_f1": 0.8},
        description="Lowest accepted value by metric, such as macro_f1; only a model that holds all of them becomes "
        "the champion.",
    )
    temperature: bool = Field(
        default=True,
        description="Whether probabilities are calibrated on the val split by a temperature for each head, which "
        "changes no label.",
    )
    false_alarm_rate: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of properly worn masks that the endpoint may notice: the threshold of the notice is chosen "
        "on the val split for it; 0 for notify_threshold as it is given.",
    )
    precision: Literal["fp32", "fp16", "int8"] = Field(
        default=FP32,
        description="The model computes in fp32. int8, which is faster on CPUs for most networks, or fp16, for GPUs: a "
        "version in it is made, evaluated and registered too, as <model_name>_int8.",
    )
    calibration_faces: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="On how many faces of the train split int8 is calibrated, at most; for precision int8.",
    )
    max_f1_drop: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="By how much macro F1 on the val split may fall in another precision, for that version to become "
        "a champion; for precision int8 or fp16.",
    )

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names under which the classifier is registered: its own, and that of another precision."""
        return (self.model_name, *([] if self.precision == FP32 else [f"{self.model_name}_{self.precision}"]))

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, the floors and what nothing would use too."""
        yield from super().problems(wrong)
        with suppress(InputError):  # the training says what is wrong with the label space
            yield from floor_problems("floors", self.floors, metric_names(label_space(self.label_space)))
        if "precision" not in wrong:
            yield from self._of_precision(wrong)
        if self.false_alarm_rate and "false_alarm_rate" not in wrong:
            yield from self._of_false_alarms(wrong)

    def _of_precision(self, wrong: Set[str]) -> Iterator[Problem]:
        for name, precisions in ((_OF_INT8, ("int8",)), (_OF_OTHERS, ("int8", "fp16"))):
            if name in wrong or getattr(self, name) == type(self).model_fields[name].default:
                continue
            if self.precision not in precisions:
                message = f"is for precision {' or '.join(precisions)}, and precision is {self.precision}: leave it out"
                yield Problem((name,), getattr(self, name), message)

    def _of_false_alarms(self, wrong: Set[str]) -> Iterator[Problem]:
        rate = self.false_alarm_rate
        if "label_space" not in wrong:
            yield from no_masks("false_alarm_rate", rate, self.label_space)
        given: Any = getattr(self, "notify_threshold", NOTIFY_THRESHOLD)
        if given != NOTIFY_THRESHOLD and "notify_threshold" not in wrong:
            message = f"chooses the threshold of the notice, and notify_threshold = {given} gives it: leave one out"
            yield Problem(("false_alarm_rate",), rate, message)
        by_ratio = self.split_options.get("mode", _PERSON) == _PERSON
        if by_ratio and not self.val_ratio and not wrong & {"val_ratio", "split_options"}:
            message = "the threshold of the notice is chosen on the val split, and val_ratio is 0: raise it"
            yield Problem(("false_alarm_rate",), rate, message)


def floor_problems(field: str, floors: Mapping[str, float], names: Collection[str]) -> Iterator[Problem]:
    """Yield what is wrong with the floors in a field, which may be set on the metrics `names`."""
    for name, floor in floors.items():
        if name not in names:
            message = "no metric of that name can have a floor"
            if name in LOWER_IS_BETTER:
                message = "less of it is better, so it can have no floor"
            yield Problem((field, name), floor, message + known(name, names))
        elif not 0 <= floor <= 1:
            yield Problem((field, name), floor, "a floor lies between 0 and 1")
