"""Options of the source formats."""

from typing import Literal

from pydantic import Field

from serving.runtime.validation import Frozen


class Options(Frozen):
    """Options of every format.

    Attributes:
        max_dropped: the share of images that may be unusable before the step fails.
        box_frame: which pixels the boxes of a photo with an EXIF orientation count in: the `stored` ones, the
            `upright` ones, or (`auto`) those whose size the source states, upright where it states none.
    """

    max_dropped: float = Field(default=0.05, ge=0, le=1)
    box_frame: Literal["auto", "stored", "upright"] = "auto"
