"""Which found boxes can be faces at all: one rule for the boxes of a training and for the faces that are answered."""

from pydantic import Field

from serving.runtime.card import Share
from serving.runtime.image.placement import Box
from serving.runtime.validation import Frozen

OUTSIDE, TOO_SMALL, TOO_LARGE = "outside", "too_small", "too_large"
"""Why a box is not plausible: less than `min_inside` of it is in the image, or it is below or above the size limits."""


class BoxLimits(Frozen):
    """Which boxes are plausible.

    Attributes:
        min_side: the shorter side of a box in pixels, at least.
        min_share: the share of the image's area that a box covers, at least; likewise `max_share`, at most.
        min_inside: the share of a box's own area that lies in the image, at least.
    """

    min_side: float = Field(default=12.0, ge=1.0)
    min_share: Share = 0.0
    max_share: Share = 1.0
    min_inside: Share = 0.3


def implausible(box: Box, upright: tuple[int, int], limits: BoxLimits) -> str:
    """Return why a box is not plausible, "" for one that is.

    Args:
        box: as found.
        upright: height and width of the image in pixels.
        limits: which boxes are plausible.
    """
    _, _, width, height = box
    if min(width, height) <= 0:
        return TOO_SMALL
    if inside_share(box, *upright) < limits.min_inside:
        return OUTSIDE
    seen, _ = clip_box(box, *upright)
    if seen is None:
        return OUTSIDE
    share = seen[2] * seen[3] / (upright[0] * upright[1])
    if min(width, height) < limits.min_side or share < limits.min_share:
        return TOO_SMALL
    return TOO_LARGE if share > limits.max_share else ""


def clip_box(box: Box, height: int, width: int) -> tuple[Box | None, float]:
    """Clip a box to an image.

    Returns the box, None when nothing of it is in the image, and by how many pixels it reaches beyond the image, not at
    all at 0 or less.
    """
    x, y, box_width, box_height = box
    beyond = max(-x, -y, x + box_width - width, y + box_height - height)
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + box_width, float(width)), min(y + box_height, float(height))
    if left >= right or top >= bottom:
        return None, beyond
    return ((left, top, right - left, bottom - top) if beyond > 0 else box), beyond


def inside_share(box: Box, height: int, width: int) -> float:
    """Return the share of a box's area that lies in an image of this size, 0 to 1."""
    clipped, _ = clip_box(box, height, width)
    return 0.0 if clipped is None else (clipped[2] * clipped[3]) / (box[2] * box[3])
