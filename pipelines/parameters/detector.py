"""The parameters of pipelines that train a face detector with ultralytics."""

from collections.abc import Iterator, Mapping, Set
from typing import Annotated, Any

from pydantic import Field

from components.train_yolo.config import YoloConfig
from pipelines.parameters.addresses import Address
from pipelines.parameters.model import ModelName
from pipelines.parameters.publish import JudgeParameters, floor_problems
from pipelines.parameters.yolo import yolo_addresses, yolo_problems
from serving.runtime.validation import Problem

_TYPED = ("label_space", "model", "epochs", "batch", "imgsz")
"""Options of the detector that are parameters of their own for KFP."""

_PARTS = {
    "detector_label_space": (str, "The classes of the detector: empty for the one class face, or a label space."),
    "detector_model": (str, "The detector's network: a .yaml of ultralytics such as yolo11n.yaml, or a .pt."),
    "detector_epochs": (int, "Passes of the detector over the train split."),
    "detector_batch": (int, "Photos in a training step of the detector."),
    "detector_imgsz": (int, "Height and width of the detector's input in pixels, a multiple of 32."),
    "detector_options": (
        dict[str, Any],
        "Further options of the detector's training, such as optimizer, lr or patience.",
    ),
}


class DetectorParameters(JudgeParameters):
    """Of pipelines that train a detector, evaluate it on the test split and register it."""

    detector: dict[str, Any] = Field(
        default_factory=dict,
        description="How the detector is trained with ultralytics: model (a .yaml such as yolo11n.yaml for random "
        "weights, or a .pt), label_space (by default the one class face), epochs, batch, imgsz, and others by "
        "ultralytics' names.",
    )
    detector_name: Annotated[str, ModelName] = Field(
        default="face_detector", description="Name of the detector in its card and in the model registry."
    )
    detector_floors: dict[str, float] = Field(
        default_factory=lambda: {"map50": 0.5},
        description="Lowest accepted value of the detector by metric: map50, map50_95, map50_from_24, precision, "
        "recall.",
    )

    @classmethod
    def parts(cls) -> dict[str, Mapping[str, tuple[Any, str]]]:
        """The fields that are several parameters for KFP."""
        return {**super().parts(), "detector": _PARTS}

    def arguments(self) -> dict[str, Any]:
        """The arguments that the pipeline is called with."""
        arguments = super().arguments()
        del arguments["detector"]
        config = self.detector_config
        typed = {f"detector_{name}": getattr(config, name) for name in _TYPED}
        options = {name: value for name, value in self.detector.items() if name not in _TYPED}
        return {**arguments, **typed, "detector_options": options}

    @property
    def detector_config(self) -> YoloConfig:
        """The configuration of the detector's training."""
        return YoloConfig.model_validate({**self.detector, "task": "detect", "seed": self.seed})

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of the detector too."""
        yield from super().problems(wrong)
        if "detector" not in wrong:
            parameters = {"task": ("", "detect"), "seed": ("seed", self.seed)}
            yield from yolo_problems(self.detector, "detector", parameters, wrong)
        # The default needs no check, for which COCO's metrics would be imported.
        if self.detector_floors != type(self).model_fields["detector_floors"].get_default(call_default_factory=True):
            from components.shared.metrics.detection import FLOORS

            yield from floor_problems("detector_floors", self.detector_floors, FLOORS)

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the network and the weights of the detector too."""
        yield from super().addresses()
        yield from yolo_addresses(self.detector_config, ("detector", "model"), ("detector", "resume"))
