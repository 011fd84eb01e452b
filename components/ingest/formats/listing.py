"""What a reader of a format takes and returns: options, and a source's images with their labels, none opened yet."""

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from pydantic import Field, field_validator

from components.shared.dataset.annotations import Box, Face
from components.shared.dataset.label_spaces import canonical_value
from components.shared.dataset.table import Table
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import is_hidden, is_image_name
from components.shared.dataset.vocabulary import SPLITS
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen

# What may stand beside the split in a name: `val_set`, `train2017`, `test_images`.
_BESIDE_SPLITS = {"data", "dataset", "set", "split", "fold", "images", "image", "imgs", "img", "jpg", "faces", "face"}


class Options(Frozen):
    """Options of every format.

    Attributes:
        max_dropped: the share of images, and the share of faces, that may be lost before the step fails.
        box_frame: which pixels the boxes of a photo with an EXIF orientation count in: the `stored` ones, the
            `upright` ones, or (`auto`) those whose size the source states, upright where it states none.
        min_inside: the share of a box's area that must lie in its image; a box with less is lost.
        encoding: that of names and texts which are not UTF-8; by default the likeliest one.
        values: further spellings of values by attribute, such as `{gender: {H: male}}`, and of splits.
    """

    max_dropped: float = Field(default=0.05, ge=0, le=1)
    box_frame: Literal["auto", "stored", "upright"] = "auto"
    min_inside: float = Field(default=0.25, gt=0, le=1)
    encoding: str | None = None
    values: dict[str, dict[str, str | int]] = Field(default_factory=dict)

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, encoding: str | None) -> str | None:
        try:
            return encoding and codecs.lookup(encoding).name
        except LookupError as error:
            raise ValueError("is not the name of an encoding, such as cp949, gb18030 or big5") from error

    @field_validator("values")
    @classmethod
    def _are_values(cls, values: dict[str, dict[str, str | int]]) -> dict[str, dict[str, str | int]]:
        for attribute, words in values.items():
            for value in words.values():
                if attribute == "split" and split_of_name(str(value)) is None:
                    raise ValueError(f"{value!r} is none of the splits train, val and test")
                if attribute != "split":
                    _checked(attribute, value)
        return values


def _checked(attribute: str, value: str | int) -> None:
    try:
        canonical_value(attribute, value)
    except InputError as error:
        raise ValueError(str(error)) from error


class BoxOptions(Options):
    """Options of formats that give each face a box.

    Attributes:
        no_box: whether a face without a usable box is lost (`drop`), or is the whole image (`keep`). Data in which no
            face at all has a box are not concerned: every face is its whole image there.
    """

    no_box: Literal["drop", "keep"] = "drop"


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
        candidates: the boxes of each annotator for the one face, each list in the order of preference; of each list the
            first that lies in the image counts, and `Listing.merge` makes one box of them.
    """

    path: str
    faces: tuple[Face, ...]
    person: str | None = None
    split: str | None = None
    size: tuple[int, int] | None = None
    source: str | None = None
    normalized: bool = False
    candidates: tuple[tuple[Box, ...], ...] = ()


@dataclass
class Listing:
    """The images of a source.

    Attributes:
        records: sorted by path.
        dropped: images that should have been usable, by reason.
        lost: faces, labels, boxes, keypoints and splits that the data state and that cannot be read, by reason.
        skipped: files that do not belong to the data.
        notes: what was read in another way than it is written; nothing is lost by it.
        layout: how the source was understood, in sentences: folders, columns, files, classes.
        keypoint_names: the names of the faces' keypoints; empty when they are not known.
        merge: makes one box of those of several annotators; see `Record.candidates`.
    """

    records: list[Record] = field(default_factory=list)
    dropped: Tally = field(default_factory=Tally)
    lost: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    layout: list[str] = field(default_factory=list)
    keypoint_names: tuple[str, ...] = ()
    merge: Callable[[Sequence[Box]], Box] = lambda boxes: boxes[0]

    def count_faulty_rows(self, table: Table, name: str) -> None:
        """Count the rows of a table that cannot be used as lost images, and note those that had a stray quote."""
        for complaint in table.complaints:
            self.dropped.add("bad_row", f"{name}: {complaint}")
        for repair in table.repairs:
            self.notes.add("stray_quote", f"{name}: {repair}")


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


@lru_cache(maxsize=1024)
def split_of_name(name: str) -> str | None:
    """Return the split that a folder or a cell is called after, in any case: `Train`, `val_set`, `testing`, `test2017`.

    None where the name says something else, or several splits.
    """
    words = [word.removesuffix("set") or word for word in re.findall(r"[^\W\d_]+", name.casefold())]
    splits = {SPLITS.get(word, "") for word in words if word not in _BESIDE_SPLITS}
    return splits.pop() or None if len(splits) == 1 else None
