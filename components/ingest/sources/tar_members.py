"""Reads TAR archives: plain ones at random, those compressed with gzip from their beginning."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, cast

from components.ingest.sources.members import Member
from components.ingest.sources.names import is_text_name
from components.ingest.sources.range_file import RangeFile
from components.ingest.sources.spans import Span, read_spans
from components.ingest.sources.tar_headers import BrokenTarError, Header, read_headers
from components.shared.dataset.pictures import MAX_FILE_BYTES
from components.shared.dataset.text import is_image_name
from serving.runtime.errors import InputError, StorageError
from serving.runtime.image.photo_types import BEGINNING_BYTES
from serving.runtime.storage import Location

MAX_KEPT_BYTES = 256 * 2**20
MAX_INFLATION = 100
_FREE_INFLATION = 2**30
_PASSED_BYTES = 2**20


class TarMembers:
    """The files of a plain TAR archive, on the disk or in S3, in the order in which they lie in it.

    The headers are read once. A member is then one positioned read. Raises InputError when the archive cannot be read
    to its end, StorageError when the storage cannot.
    """

    def __init__(self, location: Location, size: int) -> None:
        self._location = location
        with RangeFile(location, size) as file, _broken(location):
            self._headers = list(read_headers(cast(BinaryIO, file)))
        self.members = [_member(header) for header in self._headers]

    def read(self, index: int) -> bytes:
        """Read one member."""
        return self._location.read_range(self._headers[index].start, self._headers[index].size)

    def beginning(self, index: int) -> bytes:
        """Read the first bytes of one member."""
        header = self._headers[index]
        return self._location.read_range(header.start, min(header.size, BEGINNING_BYTES))

    def stream(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Yield members in the order in which they lie in the archive."""
        headers = ((index, self._headers[index]) for index in indices)
        spans = (Span(index, header.start, header.start + header.size, 0) for index, header in headers)
        yield from read_spans(self._location, spans, lambda index, block: bytes(block))


class GzipTarMembers:
    """The files of a TAR archive compressed with gzip, on the disk or in S3, in the order in which they lie in it.

    It is read from its beginning once for the names, and again for every `stream`. Texts are kept in memory, up to
    MAX_KEPT_BYTES in all, because layouts are read out of them before the images. Raises InputError when the archive
    cannot be read to its end or inflates more than MAX_INFLATION times, StorageError when the storage cannot be read.
    """

    def __init__(self, location: Location, size: int) -> None:
        self._location = location
        self._size = size
        self._kept: dict[int, bytes] = {}
        self._beginnings: dict[int, bytes] = {}
        self._headers: list[Header] = []
        budget = MAX_KEPT_BYTES
        with self._pass() as (file, headers):
            for index, header in enumerate(headers):
                self._headers.append(header)
                name = header.raw.decode(errors="replace")
                if header.fault is not None or is_image_name(name):
                    continue
                if not is_text_name(name):
                    self._beginnings[index] = file.read(min(header.size, BEGINNING_BYTES))
                elif header.size <= budget:
                    self._kept[index] = file.read(header.size)
                    budget -= header.size
        self.members = [_member(header) for header in self._headers]

    @contextmanager
    def _pass(self) -> Iterator[tuple[BinaryIO, Iterator[Header]]]:
        """Give the uncompressed archive and an iterator of its headers."""
        with (
            _broken(self._location),
            RangeFile(self._location, self._size) as packed,
            gzip.GzipFile(fileobj=cast(BinaryIO, packed), mode="rb") as unpacked,
        ):
            file = cast(BinaryIO, unpacked)
            yield file, self._checked(file)

    def _checked(self, file: BinaryIO) -> Iterator[Header]:
        """Yield the headers, and read to the end of the file, where gzip has its checksum."""
        limit = MAX_INFLATION * self._size + _FREE_INFLATION
        for header in read_headers(file):
            if header.start + header.size > limit:
                raise BrokenTarError(f"it inflates to more than {MAX_INFLATION} times its size")
            yield header
        while file.read(_PASSED_BYTES):
            if file.tell() > limit:
                raise BrokenTarError(f"it inflates to more than {MAX_INFLATION} times its size")

    def read(self, index: int) -> bytes:
        """Read one member: from memory, or else by reading the archive up to it."""
        return next(content for _, content in self.stream([index]))

    def beginning(self, index: int) -> bytes:
        """Return the first bytes of a member that is neither an image nor a text by its name."""
        return self._beginnings.get(index, b"")

    def stream(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield members in the order in which they lie in the archive."""
        left = sorted(indices, reverse=True)
        while left and left[-1] in self._kept:
            yield left[-1], self._kept[left.pop()]
        if not left:
            return
        with self._pass() as (file, headers):
            for index, header in enumerate(headers):
                if index != left[-1]:
                    continue
                content = self._kept[index] if index in self._kept else file.read(header.size)
                if header != self._headers[index] or len(content) != header.size:
                    raise StorageError(f"{self._location.uri}: the archive changed while it was read")
                yield left.pop(), content
                if not left:
                    return
        raise StorageError(f"{self._location.uri}: the archive changed while it was read")


def _member(header: Header) -> Member:
    fault = header.fault or ("too_large" if header.size > MAX_FILE_BYTES else None)
    return Member(header.raw, header.size, fault, header.is_utf8)


@contextmanager
def _broken(location: Location) -> Iterator[None]:
    """Turn every error of a damaged archive into one InputError."""
    try:
        yield
    except (BrokenTarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{location.uri}: not a whole TAR archive; it is damaged or was cut short, copy it again: {error}"
        ) from error
