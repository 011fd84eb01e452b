"""What an operation hands back: the images that stay, and counts of everything it did."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.shared.dataset.annotations import Image
from components.shared.dataset.tally import Tally


@dataclass
class Outcome:
    """The images after an operation.

    Attributes:
        images: what stays, in any order.
        dropped: images that are gone, by reason.
        notes: everything else worth counting, by a name of its own.
        leaks: whether what was brought in is known to leak.
    """

    images: Sequence[Image]
    dropped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    leaks: bool = False


def original_name(image: Image) -> str:
    """Return the name that a picture had in the raw data."""
    return image.source or image.file_name
