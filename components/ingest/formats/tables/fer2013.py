"""FER2013: a table with one picture per row, its gray values written as text. The pictures are made from them."""

import io
import math
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image
from pydantic import Field

from components.ingest.formats.listing import Listing, Options, Record, split_of_name
from components.ingest.sources.members import Member
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
from components.shared.dataset.table import Table, folded
from serving.runtime.image.photo_types import BEGINNING_BYTES

# The order of the numbers 0 to 6 in the column `emotion`.
_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_USAGES = {"publictest": "val", "privatetest": "test"}
TABLES = ("fer2013.csv", "icml_face_data.csv", "train.csv")


class Fer2013Options(Options):
    """Options of FER2013.

    Attributes:
        table: the table below the source, by default the one of its usual names that is there.
        classes: the names of the numbers in the column `emotion`, from 0 on.
    """

    table: str | None = None
    classes: tuple[str, ...] = Field(default=_EMOTIONS, min_length=2)


class GrayPictures:
    """Square pictures of one byte per pixel, given out as PNG; a container of files like an archive.

    `pictures` has the name of each with its pixels, row by row.
    """

    def __init__(self, pictures: Sequence[tuple[str, bytes]]) -> None:
        self._pixels = [pixels for _, pixels in pictures]
        self.members = [Member(name.encode(), len(pixels), is_utf8=True) for name, pixels in pictures]

    def read(self, index: int) -> bytes:
        """Return one picture as PNG."""
        pixels = self._pixels[index]
        side = math.isqrt(len(pixels))
        file = io.BytesIO()
        Image.frombytes("L", (side, side), pixels).save(file, "PNG")
        return file.getvalue()

    def beginning(self, index: int) -> bytes:
        """Return the first bytes of one picture."""
        return self.read(index)[:BEGINNING_BYTES]

    def stream(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield pictures in their order."""
        for index in sorted(indices):
            yield index, self.read(index)


def read_fer2013(source: Source, options: Fer2013Options) -> Listing:
    """Make the pictures of a table with the columns `pixels`, `emotion` and `Usage`; the last two may be missing.

    They are called by the table and their line, `fer2013/000002.png`. `Usage` Training, PublicTest and PrivateTest are
    the splits train, val and test. A row whose pixels are not a square of numbers from 0 to 255 is dropped; a number
    of no class and another word as `Usage` are lost. Raises InputError when there is no such table.
    """
    listing = Listing()
    path = options.table or next((name for name in TABLES if name in source.paths), TABLES[0])
    source.require(path, "table", "table")
    table = source.read_table(path, ("pixels",))
    listing.count_faulty_rows(table, path)
    emotion, usage = (_column(table, name) for name in ("emotion", "usage"))
    classes = {str(number): name for number, name in enumerate(options.classes)}
    folder = posixpath.splitext(path)[0]
    pictures = []
    for row in table.rows:
        example = f"{path}: row {row.line}"
        pixels = _pixels(row.cells["pixels"])
        if pixels is None:
            listing.dropped.add("bad_pixels", example)
            continue
        attributes: dict[str, Any] = {}
        number = row.cells[emotion] if emotion else ""
        if number in classes:
            attributes["emotion"] = classes[number]
        elif number:
            listing.lost.add("bad_emotion", f"{example} ({number})")
        word = row.cells[usage] if usage else ""
        split = _USAGES.get(word.lower()) or split_of_name(word)
        if word and split is None:
            listing.lost.add("unknown_split", f"{example} ({word})")
        name = f"{row.line:06}.png"
        pictures.append((name, pixels))
        side = math.isqrt(len(pixels))
        face = Face(0, None, attributes)
        listing.records.append(Record(f"{folder}/{name}", (face,), split=split, size=(side, side)))
    source.attach(GrayPictures(pictures), f"{folder}/")
    listing.layout.append(f"{path}: emotion {', '.join(f'{number} = {name}' for number, name in classes.items())}")
    for other in set(source.paths) - {record.path for record in listing.records} - {path}:
        listing.skipped.add("not_in_the_table", other)
    return listing


def _column(table: Table, name: str) -> str | None:
    return next((column for column in table.header if folded(column) == name), None)


def _pixels(cell: str) -> bytes | None:
    """Return the gray values of a square picture, None when these are not so many whole numbers from 0 to 255."""
    try:
        pixels = bytes(map(int, cell.split()))
    except ValueError:
        return None
    return pixels if pixels and math.isqrt(len(pixels)) ** 2 == len(pixels) else None
