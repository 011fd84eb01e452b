"""The result of an operation."""

from collections.abc import Container, Iterable
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

    images: list[Image]
    dropped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    leaks: bool = False
    keypoint_names: tuple[str, ...] = ()

    def drop(self, images: Iterable[Image], ids: Container[int], reason: str) -> None:
        """Keep of `images` those whose ids are not in `ids`, and count the others as dropped."""
        self.images = []
        for image in images:
            if image.id in ids:
                self.dropped.add(reason, image.file_name)
            else:
                self.images.append(image)

    @property
    def counts(self) -> dict[str, int]:
        """Notes and dropped images, by name."""
        return {**self.notes.counts, **self.dropped.counts}


def original_name(image: Image) -> str:
    """Return the name that an image had in the raw data."""
    return image.source or image.file_name
