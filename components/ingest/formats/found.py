"""What a reader finds in a source before any image is opened."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from components.ingest.sources.names import is_hidden, is_image_name
from components.shared.dataset.annotations import Box
from components.shared.dataset.tally import Tally

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face: its box as the source has it, not yet clipped to the image, and its raw facts.

    A `normalized` box counts in shares of the image's width and height, any other in pixels.
    """

    box: Box | None
    attributes: dict[str, Any]
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """An image that the source describes.

    `path` is its name in the source. `size` is the (height, width) it is said to have: it tells whether the boxes were
    drawn on the stored or on the upright pixels of a turned photo. `source` is an original name that the data tell.
    """

    path: str
    faces: tuple[FoundFace, ...]
    person: str | None = None
    split: str | None = None
    size: tuple[int, int] | None = None
    source: str | None = None


@dataclass
class Found:
    """The records of a source, sorted by path, and what was left out.

    `dropped` counts samples that should have been usable, `skipped` files that are none of ours, `notes` the rest.
    """

    records: list[Record] = field(default_factory=list)
    dropped: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)


def usable(paths: Iterable[str], found: Found) -> list[str]:
    """Return the sorted paths of image names, and count the others in `found.skipped`."""
    kept = []
    for path in sorted(paths):
        if is_hidden(path):
            found.skipped.add("hidden", path)
        elif not is_image_name(path):
            found.skipped.add("not_an_image_name", path)
        else:
            kept.append(path)
    return kept
