"""What a place holds: the files below a folder or prefix, or those in an archive."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from components.ingest.sources.names import is_image_name
from serving.runtime.storage import Entry, Location, read_many

MAX_FILE_BYTES = 512 * 2**20
"""A larger image, or a larger file of any kind in an archive, is left out: it is no photo."""

DOWNLOADS = 16


@dataclass(frozen=True, slots=True)
class Member:
    """A file: its name as it is stored, its size in bytes, and why it cannot be read, if that is known.

    `is_utf8` says that the place promises names in UTF-8.
    """

    raw: bytes
    size: int
    fault: str | None = None
    is_utf8: bool = False


class Holder(Protocol):
    """A place that holds files; they are named by their position in `members`."""

    @property
    def members(self) -> Sequence[Member]:
        """The files, those that cannot be read included."""
        ...

    def read(self, at: int) -> bytes | None:
        """Read one file; None when it is damaged."""
        ...

    def stream(self, wanted: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Give the wanted files in an order that the place decides; None for a damaged one."""
        ...


class LooseFiles:
    """Files and objects as they lie below a location, in the order of their names."""

    def __init__(self, location: Location, entries: Sequence[Entry]) -> None:
        self._location = location
        self._paths = [entry.path for entry in entries]
        self.members = [
            Member(os.fsencode(entry.path), entry.size, _fault(entry), bool(location.bucket)) for entry in entries
        ]

    def read(self, at: int) -> bytes:
        """Read one file."""
        return self._location.read(self._paths[at])

    def stream(self, wanted: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Give the wanted files in the order of their names, some of them read ahead in parallel."""
        contents = read_many(self._location, (self._paths[at] for at in sorted(wanted)), workers=DOWNLOADS)
        for at, (_, content) in zip(sorted(wanted), contents, strict=True):
            yield at, content


def _fault(entry: Entry) -> str | None:
    return "too_large" if entry.size > MAX_FILE_BYTES and is_image_name(entry.path) else None
