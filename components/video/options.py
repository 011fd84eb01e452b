"""What a user can say about the annotation of a video."""

from typing import Literal, Self

from pydantic import Field, model_validator

from serving.runtime.validation import Frozen


class VideoOptions(Frozen):
    """Options of annotate_video.

    Attributes:
        every: the model sees every n-th frame.
        fps: the model sees at most so many frames of a second; in place of `every`.
        faces: which of the faces that are found in a frame: `all`, the `largest`, or the one of the highest `score`.
        iou: lowest overlap (intersection over union) of a face's box with its box before, for it to keep its number.
        memory: seconds for which a face that is not seen keeps its number.
        copy_video: whether the annotated copy is written.
    """

    every: int = Field(default=1, ge=1)
    fps: float | None = Field(default=None, gt=0)
    faces: Literal["all", "largest", "score"] = "all"
    iou: float = Field(default=0.3, gt=0, le=1)
    memory: float = Field(default=1.0, ge=0)
    copy_video: bool = True

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if self.fps is not None and self.every > 1:
            raise ValueError("every and fps both say which frames are seen; give one of them")
        return self
