"""Containers of files: a folder or prefix, and the interface that archives share with it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from components.shared.dataset.pictures import MAX_FILE_BYTES
from components.shared.dataset.text import is_image_name
from serving.runtime.image.photo_types import BEGINNING_BYTES
from serving.runtime.ordered_map import ordered_map
from serving.runtime.storage import Entry, Location

DOWNLOADS = 16


@dataclass(frozen=True, slots=True)
class Member:
    """A file: its name as it is stored, its size in bytes, and why it cannot be read, if that is known.

    `is_utf8` says that the container declares its names as UTF-8.
    """

    raw: bytes
    size: int
    fault: str | None = None
    is_utf8: bool = False


class Container(Protocol):
    """A folder or an archive; files are addressed by their index in `members`."""

    @property
    def members(self) -> Sequence[Member]:
        """All files, including those that cannot be read."""
        ...

    def read(self, index: int) -> bytes | None:
        """Read one file; None when it is damaged."""
        ...

    def beginning(self, index: int) -> bytes:
        """Return the first BEGINNING_BYTES of one file, as far as they can be read; not of a name in TEXT_SUFFIXES."""
        ...

    def stream(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Yield (index, content) of files, in an order that the container chooses; None for a damaged one."""
        ...


class LooseFiles:
    """The files or objects below a location, in the order of their names."""

    def __init__(self, location: Location, entries: Sequence[Entry]) -> None:
        self._location = location
        self._paths = [entry.path for entry in entries]
        self.members = [_member(entry, bool(location.bucket)) for entry in entries]

    def read(self, index: int) -> bytes:
        """Read one file."""
        return self._location.read(self._paths[index])

    def beginning(self, index: int) -> bytes:
        """Read the first bytes of one file."""
        return self.head(index, BEGINNING_BYTES)

    def head(self, index: int, length: int) -> bytes:
        """Read the first bytes of one file."""
        return self._location.read_range(0, min(length, self.members[index].size), self._paths[index])

    def stream(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield files in the order of their names; some are read ahead in parallel."""
        yield from ordered_map(self.read, sorted(indices), workers=DOWNLOADS, ahead=2 * DOWNLOADS - 1)


def _member(entry: Entry, in_bucket: bool) -> Member:
    # A key may begin with a slash, which does not lead out of its bucket.
    name = entry.path.lstrip("/") if in_bucket else entry.path
    too_large = entry.size > MAX_FILE_BYTES and is_image_name(entry.path)
    return Member(os.fsencode(name), entry.size, entry.fault or ("too_large" if too_large else None), in_bucket)
