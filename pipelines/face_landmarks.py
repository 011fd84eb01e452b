"""The landmarks pipeline: raw face photos in, the points of every face out.

It has another name than its step: KFP would load the step in its place.
"""

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.landmarks.options import LandmarkOptions
from pipelines.parameters.addresses import Address
from pipelines.parameters.pipeline import PipelineConfig
from serving.runtime.validation import Problem, problems_of

if TYPE_CHECKING:
    from pipelines.parts.data import Configure


class FaceLandmarksConfig(PipelineConfig):
    """The parameters of the landmarks pipeline."""

    pipeline: Literal["face_landmarks"] = "face_landmarks"
    landmarks: dict[str, Any] = Field(
        default_factory=lambda: {"weights": "s3://raw/shape_predictor_68_face_landmarks.dat"},
        description="How faces are marked: weights (a shape predictor of dlib), faces (found or given), pictures "
        "(gray, color, heatmap), boxes, upsample, threshold, max_failed.",
    )

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of the step too."""
        yield from super().problems(wrong)
        yield from problems_of(LandmarkOptions, self.landmarks, path=("landmarks",))

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the weights too."""
        yield from super().addresses()
        yield Address(("landmarks", "weights"), LandmarkOptions.model_validate(self.landmarks).weights)


def face_landmarks(p: FaceLandmarksConfig, configure: "Configure") -> None:
    """Read photos and mark the points of every face with dlib: annotations, a table, and drawn faces."""
    from components.landmarks.component import landmarks
    from pipelines.parts.data import read_photos

    data = read_photos(p, configure)
    task = landmarks(images=data.images, annotations=data.annotations, options=p.landmarks)
    configure(task, "Mark the points of the faces")
