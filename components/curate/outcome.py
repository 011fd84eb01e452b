"""What an operation hands back: the images that stay, and counts of everything it did."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.shared.dataset.annotations import Image

MAX_EXAMPLES = 20


class Tally:
    """Counts by reason, with the first names of each reason as examples."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Count one item under a reason; `name` tells a person where to look."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(name)


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
