"""The options of the step landmarks."""

from typing import Literal

from pydantic import Field, field_validator

from serving.runtime.validation import Frozen

Mode = Literal["gray", "color", "heatmap"]


class LandmarkOptions(Frozen):
    """What the step does.

    Attributes:
        weights: A shape predictor of dlib with 68 or 5 points: a path or an `s3://` address.
        faces: `found` by dlib's HOG detector, or `given` by the annotations.
        boxes: What the given boxes enclose: the `face`, as detectors do, or its `points`.
        upsample: How many times the picture is doubled before faces are looked for. At 0 they have 80 pixels or more.
        threshold: The least score of a face that is found; a lower one finds more, and more that is none.
        pictures: The modes in which every face is drawn.
        max_failed: How many pictures may fail to decode before the step fails.
    """

    weights: str = Field(min_length=1)
    faces: Literal["found", "given"] = "found"
    boxes: Literal["face", "points"] = "face"
    upsample: int = Field(default=1, ge=0, le=2)
    threshold: float = Field(default=0.0, allow_inf_nan=False)
    pictures: tuple[Mode, ...] = ()
    max_failed: int = Field(default=0, ge=0)

    @field_validator("pictures")
    @classmethod
    def _once(cls, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
        return tuple(dict.fromkeys(modes))
