"""What a reader of a format takes and returns: options, and a source's images with their labels, none opened yet."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from components.ingest.sources.names import is_image_name
from components.shared.dataset.annotations import Face
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import is_hidden
from serving.runtime.validation import Frozen

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The names of splits that sources use, and ours."""


class Options(Frozen):
    """Options of every format.

    Attributes:
        max_dropped: the share of images that may be unusable before the step fails.
        box_frame: which pixels the boxes of a photo with an EXIF orientation count in: the `stored` ones, the
            `upright` ones, or (`auto`) those whose size the source states, upright where it states none.
    """

    max_dropped: float = Field(default=0.05, ge=0, le=1)
    box_frame: Literal["auto", "stored", "upright"] = "auto"


@dataclass(frozen=True, slots=True)
class Record:
    """An image that the source describes.

    Attributes:
        path: its name in the source.
        faces: its faces, not yet numbered (`id` 0); their boxes are not yet clipped to the image.
        person: whom it shows, if that is known.
        split: train, val, test or None.
        size: the (height, width) that the source states. It tells whether the boxes of a turned photo are in stored or
            upright pixels.
        source: the original name, if the source states one.
        normalized: whether boxes and keypoints are in shares of the image's width and height instead of pixels.
    """

    path: str
    faces: tuple[Face, ...]
    person: str | None = None
    split: str | None = None
    size: tuple[int, int] | None = None
    source: str | None = None
    normalized: bool = False


@dataclass
class Listing:
    """The images of a source.

    Attributes:
        records: sorted by path.
        dropped: images that should have been usable, by reason.
        skipped: files that do not belong to the data.
        notes: everything else that is counted.
        keypoint_names: the names of the faces' keypoints; empty when they are not known.
    """

    records: list[Record] = field(default_factory=list)
    dropped: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    keypoint_names: tuple[str, ...] = ()


def image_paths(paths: Iterable[str], listing: Listing) -> list[str]:
    """Return the sorted paths of image names; the others are counted in `listing.skipped`."""
    kept = []
    for path in sorted(paths):
        if is_hidden(path):
            listing.skipped.add("hidden", path)
        elif not is_image_name(path):
            listing.skipped.add("not_an_image_name", path)
        else:
            kept.append(path)
    return kept
