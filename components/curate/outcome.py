"""The result of an operation."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.shared.dataset.annotations import Image
from components.shared.dataset.tally import Tally


@dataclass
class Outcome:
    """The images after an operation.

    Attributes:
        images: the remaining images, in any order.
        dropped: dropped images by reason.
        notes: everything else that is counted.
        leaks: whether annotations were merged in that are known to leak.
        keypoint_names: those of annotations that were merged in.
    """

    images: Sequence[Image]
    dropped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    leaks: bool = False
    keypoint_names: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Notes and dropped images, by name."""
        return {**self.notes.counts, **self.dropped.counts}


def original_name(image: Image) -> str:
    """Return the name that an image had in the raw data."""
    return image.source or image.file_name
