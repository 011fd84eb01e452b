"""A ZIP archive as a place of files: its directory is read once, a member is one positioned read.

The record layouts are those of PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 to 4.3.16, 4.5.3 and 4.6.9.
"""

import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from components.ingest.sources.members import MAX_FILE_BYTES, Member
from components.ingest.sources.spans import Span, read_spans
from serving.runtime.errors import InputError
from serving.runtime.storage import Location

MAX_DIRECTORY_BYTES = 2**30

_CENTRAL = struct.Struct("<4s4x2H4x3L3H4x2L")
_LOCAL = struct.Struct("<4s22x2H")
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_FULL = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_ZIP64_FIELD, _UNICODE_PATH_FIELD = 0x0001, 0x7075
# The extra fields in front of a member may be longer than those in the directory; mostly they are not by more.
_SLACK = 64


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the bytes of a member lie and what they must give."""

    start: int
    end: int
    stored: int
    method: int
    crc: int


class ZipMembers:
    """The files of a ZIP archive, on the disk or in S3, in the order in which they lie in it.

    Raises InputError when the archive as a whole cannot be read, StorageError when its place cannot.
    """

    def __init__(self, location: Location, size: int) -> None:
        self._location = location
        self.members: list[Member] = []
        self._places: list[_Place] = []
        directory, count, self._directory_start, shift = _directory(location, size)
        if self._parse(directory, shift) % 0x10000 != count % 0x10000:
            raise _broken(location)
        self._refuse_overlaps()

    def _parse(self, directory: bytes, shift: int) -> int:
        """Fill the tables from the directory and return the number of its entries, folders included."""
        position = count = 0
        while position < len(directory):
            if len(directory) - position < _CENTRAL.size:
                raise _broken(self._location)
            signature, flags, method, crc, stored, size, *lengths, mode, offset = _CENTRAL.unpack_from(
                directory, position
            )
            name_length, extra_length, comment_length = lengths
            name_end = position + _CENTRAL.size + name_length
            extra_end = name_end + extra_length
            if signature != b"PK\1\2" or extra_end + comment_length > len(directory):
                raise _broken(self._location)
            count += 1
            raw = directory[position + _CENTRAL.size : name_end]
            fields = _extra_fields(directory[name_end:extra_end])
            position = extra_end + comment_length
            if raw.endswith((b"/", b"\\")) or stat.S_ISDIR(mode >> 16):
                continue
            wide: tuple[int, int, int] | None = size, stored, offset
            if _FULL in (size, stored, offset):
                wide = _wide((size, stored, offset), fields.get(_ZIP64_FIELD, b""))
            size, stored, offset = wide or (0, 0, 0)
            offset += shift
            end = min(offset + _LOCAL.size + name_length + extra_length + _SLACK + stored, self._directory_start)
            fault = _fault(flags, method, mode >> 16, size)
            whole = wide and offset + _LOCAL.size + name_length + stored <= self._directory_start
            if fault is None and not (whole and (method == _DEFLATED or size == stored)):
                fault = "damaged_member"
            path = _unicode_path(raw, fields)
            is_utf8 = path is not None or bool(flags & _UTF8)
            # Old Windows tools write backslashes. In CP949, too, this byte is never half of a letter.
            self.members.append(Member((path or raw).replace(b"\\", b"/"), size, fault, is_utf8))
            self._places.append(_Place(offset, end, stored, method, crc))
        return count

    def _refuse_overlaps(self) -> None:
        """Mark a member that lies within another one: small archives that inflate without end are made of these."""
        end = 0
        for at in sorted(range(len(self.members)), key=lambda at: self._places[at].start):
            member, place = self.members[at], self._places[at]
            if member.fault is not None:
                continue
            if place.start < end:
                self.members[at] = replace(member, fault="damaged_member")
            end = max(end, place.start + _LOCAL.size + place.stored)

    def read(self, at: int) -> bytes | None:
        """Read one member; None when it is damaged."""
        place = self._places[at]
        return self._decode(at, memoryview(self._location.read_range(place.start, place.end - place.start)))

    def stream(self, wanted: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Give the wanted members in the order in which they lie in the archive."""
        spans = (Span(at, self._places[at].start, self._places[at].end, self.members[at].size) for at in wanted)
        yield from read_spans(self._location, spans, self._decode)

    def _decode(self, at: int, block: memoryview) -> bytes | None:
        """Return the content of a member out of its bytes, or None when they do not give what the directory says."""
        place, size = self._places[at], self.members[at].size
        signature, name_length, extra_length = _LOCAL.unpack_from(block)
        start = _LOCAL.size + name_length + extra_length
        stored = block[start : start + place.stored]
        if signature != b"PK\3\4" or place.start + start + place.stored > self._directory_start:
            return None
        if len(stored) < place.stored:
            missing = self._location.read_range(place.start + start + len(stored), place.stored - len(stored))
            stored = memoryview(bytes(stored) + missing)
        if place.method == _STORED:
            data = bytes(stored)
        else:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflater.decompress(stored, size + 1)
            except zlib.error:
                return None
        return data if len(data) == size and zlib.crc32(data) == place.crc else None


def _directory(location: Location, total: int) -> tuple[bytes, int, int, int]:
    """Return the central directory, its number of entries, its start, and by how much offsets in it are too small."""
    tail_start = max(0, total - 0xFFFF - _END.size)
    tail = location.read_range(tail_start, total - tail_start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise _broken(location)
    _, disk, first_disk, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if count == 0xFFFF or _FULL in (length, offset):
        locator_start = end - _END64_LOCATOR.size
        locator = location.read_range(locator_start, _END64_LOCATOR.size) if locator_start >= 0 else b""
        if locator[:4] == b"PK\6\7":
            # The record is where the locator says, or right before it when something was put in front of the archive.
            for start in (_END64_LOCATOR.unpack(locator)[2], locator_start - _END64.size):
                record = location.read_range(start, _END64.size) if 0 <= start <= total - _END64.size else b""
                if record[:4] == b"PK\6\6":
                    *_, disk, first_disk, _, count, length, offset = _END64.unpack(record)
                    end = start
                    break
            else:
                raise _broken(location)
    if disk or first_disk:
        raise InputError(f"{location.uri}: one part of a split ZIP archive; join the parts to one archive")
    shift = end - length - offset
    if shift < 0 or count * _CENTRAL.size > length or length > MAX_DIRECTORY_BYTES:
        raise _broken(location)
    return location.read_range(end - length, length), count, end - length, shift


def _extra_fields(extra: bytes) -> dict[int, bytes]:
    fields = {}
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        fields[kind] = extra[position + 4 : position + 4 + length]
        position += 4 + length
    return fields


def _wide(values: tuple[int, int, int], field: bytes) -> tuple[int, int, int] | None:
    """Take the values that do not fit into 32 bits from the ZIP64 field; None when they are not there."""
    missing = values.count(_FULL)
    if len(field) < 8 * missing:
        return None
    wide = iter(struct.unpack_from(f"<{missing}Q", field))
    size, stored, offset = (next(wide) if value == _FULL else value for value in values)
    return size, stored, offset


def _unicode_path(raw: bytes, fields: dict[int, bytes]) -> bytes | None:
    """Return the name in UTF-8 that some tools add, if it is that of this name."""
    field = fields.get(_UNICODE_PATH_FIELD, b"")
    if len(field) <= 5 or field[0] != 1 or int.from_bytes(field[1:5], "little") != zlib.crc32(raw):
        return None
    return field[5:]


def _fault(flags: int, method: int, mode: int, size: int) -> str | None:
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "device"
    if flags & _ENCRYPTED:
        return "encrypted"
    if method not in (_STORED, _DEFLATED):
        return "unsupported_compression"
    return "too_large" if size > MAX_FILE_BYTES else None


def _broken(location: Location) -> InputError:
    return InputError(f"{location.uri}: not a whole ZIP archive; it is damaged or was cut short, copy it again")
