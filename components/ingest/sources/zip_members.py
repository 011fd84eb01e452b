"""Reads ZIP archives of other people: the directory once, then every member with one positioned read.

The directory is not read by `zipfile`, which refuses the whole archive when one name is not the UTF-8 that its flag
promises (Korean names in CP949 are often flagged so), or one member has a damaged extra field or an unknown version.

The record layouts are those of PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.6.9.
"""

import contextlib
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from components.ingest.sources.members import Member
from components.ingest.sources.spans import Span, read_spans
from components.shared.dataset.encodings import decoded
from components.shared.dataset.pictures import MAX_FILE_BYTES
from components.shared.dataset.zip_directory import LOCAL_HEADER, extra_fields, read_entries
from serving.runtime.image.photo_types import BEGINNING_BYTES
from serving.runtime.storage import Location

_LOCAL = struct.Struct("<4s22x2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_UNICODE_PATH_FIELD = 0x7075
# The extra fields in front of a member may be longer than those in the directory; mostly they are not by more.
_SLACK = 64
# As much of a member holds its header and its first bytes, unless its name is very long.
_BEGINNING_SPAN = 4096


@dataclass(frozen=True, slots=True)
class _Extent:
    """The bytes of a member, its header included, and what they must decode to."""

    start: int
    end: int
    stored: int
    method: int
    crc: int


class ZipMembers:
    """The files of a ZIP archive, on the disk or in S3, in the order of its directory.

    Raises InputError when the archive as a whole cannot be read, StorageError when the storage cannot.
    """

    def __init__(self, location: Location, size: int) -> None:
        self._location = location
        self.members: list[Member] = []
        self._extents: list[_Extent] = []
        entries = read_entries(location.read_range, size, location.uri)
        self._directory_start = entries.start
        columns = (entries.heads[name].tolist() for name in ("flags", "method", "crc", "attributes"))
        for raw, extra, extent, flags, method, crc, attributes in zip(
            entries.names, entries.extras, entries.extents.tolist(), *columns, strict=True
        ):
            mode = attributes >> 16
            if raw.endswith((b"/", b"\\")) or stat.S_ISDIR(mode):
                continue
            size, stored, start = extent if min(extent) >= 0 else (0, 0, 0)
            path = _unicode_path(raw, extra)
            data_start = start + LOCAL_HEADER + len(raw)
            is_whole = min(extent) >= 0 and data_start + stored <= entries.start
            fault = _fault(flags, method, mode) or ("too_large" if size > MAX_FILE_BYTES else None)
            if fault is None and not (is_whole and (method == _DEFLATED or size == stored)):
                fault = "damaged_member"
            name = _with_slashes(path or raw)
            self.members.append(Member(name, size, fault, bool(flags & _UTF8) or path is not None))
            end = min(data_start + len(extra) + _SLACK + stored, entries.start)
            self._extents.append(_Extent(start, end, stored, method, crc))
        self._refuse_overlaps()

    def _refuse_overlaps(self) -> None:
        """Mark a member that lies within another one: ZIP bombs are made of these."""
        end = 0
        for index in sorted(range(len(self.members)), key=lambda index: self._extents[index].start):
            member, extent = self.members[index], self._extents[index]
            if member.fault is not None:
                continue
            if extent.start < end:
                self.members[index] = replace(member, fault="damaged_member")
            end = max(end, extent.start + LOCAL_HEADER + extent.stored)

    def read(self, index: int) -> bytes | None:
        """Read one member; None when it is damaged."""
        extent = self._extents[index]
        return self._decode(index, memoryview(self._location.read_range(extent.start, extent.end - extent.start)))

    def beginning(self, index: int) -> bytes:
        """Read the first bytes of one member; fewer, or none, of a damaged one."""
        extent = self._extents[index]
        block = self._location.read_range(extent.start, min(extent.end - extent.start, _BEGINNING_SPAN))
        start = LOCAL_HEADER + sum(_LOCAL.unpack_from(block)[1:])
        if extent.method == _STORED:
            return block[start : start + min(extent.stored, BEGINNING_BYTES)]
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(block[start:], BEGINNING_BYTES)
        return b""

    def stream(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Yield the members at `indices` in the order in which they lie in the archive."""
        spans = (Span(i, self._extents[i].start, self._extents[i].end, self.members[i].size) for i in indices)
        yield from read_spans(self._location, spans, self._decode)

    def _decode(self, index: int, block: memoryview) -> bytes | None:
        """Return the content of a member from its bytes; None when it is not what the directory says."""
        extent, size = self._extents[index], self.members[index].size
        signature, name_length, extra_length = _LOCAL.unpack_from(block)
        start = LOCAL_HEADER + name_length + extra_length
        stored = block[start : start + extent.stored]
        if signature != b"PK\3\4" or extent.start + start + extent.stored > self._directory_start:
            return None
        if len(stored) < extent.stored:
            missing = self._location.read_range(extent.start + start + len(stored), extent.stored - len(stored))
            stored = memoryview(bytes(stored) + missing)
        if extent.method == _STORED:
            data = bytes(stored)
        else:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, size + 1)
            except zlib.error:
                return None
        return data if len(data) == size and zlib.crc32(data) == extent.crc else None


def _with_slashes(name: bytes) -> bytes:
    """Replace the backslashes that old Windows tools write.

    In UTF-8 and CP949 this byte is never half of a letter, in Shift-JIS, Big5 and GBK it is: such a name is left as it
    is when it has slashes.
    """
    if b"\\" in name and b"/" in name and decoded(name, "utf-8") is None:
        return name
    return name.replace(b"\\", b"/")


def _unicode_path(raw: bytes, extra: bytes) -> bytes | None:
    """Return the name in UTF-8 that some tools add, if it belongs to this name."""
    field = extra_fields(extra).get(_UNICODE_PATH_FIELD, b"")
    if len(field) <= 5 or field[0] != 1 or int.from_bytes(field[1:5], "little") != zlib.crc32(raw):
        return None
    return field[5:]


def _fault(flags: int, method: int, mode: int) -> str | None:
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "device"
    if flags & _ENCRYPTED:
        return "encrypted"
    return "unsupported_compression" if method not in (_STORED, _DEFLATED) else None
