"""Headers of untrusted TAR archives, read sequentially: plain, GNU and POSIX (pax).

Not `tarfile`: it ends silently at a later header that is broken, so that members would be missing without an error, and
its sizes may be negative in versions without the fix of CVE-2025-8194 (an endless loop).

The layouts are those of POSIX.1-2017 (pax, ustar) and of GNU tar's manual, "Basic Tar Format".
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
MAX_EXTENSION_BYTES = 2**20

_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_LINKS = {tarfile.SYMTYPE, tarfile.LNKTYPE}
_DEVICES = {tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}
# These have no content, whatever size they state.
_EMPTY = _LINKS | _DEVICES | {tarfile.DIRTYPE}


class BrokenTarError(ValueError):
    """The archive is damaged; the message says where."""


@dataclass(frozen=True, slots=True)
class Header:
    """A member that is not a folder: its name, and the start and size of its content in the uncompressed archive.

    `fault` says why it is not a plain file: `link`, `device` or `unsupported_member`.
    """

    raw: bytes
    start: int
    size: int
    fault: str | None
    is_utf8: bool


def read_headers(file: BinaryIO) -> Iterator[Header]:
    """Yield the members; between two of them the caller may read in `file`, which must seek forward.

    Ends after the block of zeros that closes an archive. Raises BrokenTarError when there is none, or when a header
    cannot be understood.
    """
    position = 0
    long_name: bytes | None = None
    pax: dict[str, bytes] = {}
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise BrokenTarError(f"it ends at byte {position + len(block)}, in the middle of its members")
        if not any(block):
            return
        if not _has_right_sum(block):
            raise BrokenTarError(f"no header at byte {position}")
        name, kind, size = _name(block), block[156:157], _octal(block[124:136], position)
        start = position + BLOCK
        if kind == tarfile.AREGTYPE and name.endswith(b"/"):
            kind = tarfile.DIRTYPE  # as the oldest archives have it
        if kind == tarfile.GNUTYPE_SPARSE:
            start = _after_sparse_map(file, block, start)
        size = 0 if kind in _EMPTY else _decimal(pax["size"], position) if "size" in pax else size
        position = start + -(-size // BLOCK) * BLOCK
        if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = _extension(file, size, start).split(b"\0")[0]
            long_name = text if kind == tarfile.GNUTYPE_LONGNAME else long_name
            continue
        if kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE):
            records = _pax_records(_extension(file, size, start), start)
            pax = records if kind != tarfile.XGLTYPE else pax
            continue
        if kind != tarfile.DIRTYPE:
            is_utf8 = "path" in pax and "hdrcharset" not in pax
            yield Header(pax.get("path", long_name) or name, start, size, _fault(kind, pax), is_utf8)
        long_name, pax = None, {}


def _has_right_sum(block: bytes) -> bool:
    """Compare the sum of a header's bytes, blanks for the sum itself, with that in it; some add signed bytes."""
    digits = block[148:156].strip(b" \0")
    if not digits.isdigit() or digits.translate(None, b"01234567"):
        return False
    unsigned = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    negative = sum(byte >= 0x80 for byte in block) if unsigned != int(digits, 8) else 0
    return int(digits, 8) in (unsigned, unsigned - 0x100 * negative)


def _name(block: bytes) -> bytes:
    """Return the name, with the folder that POSIX archives keep apart."""
    name, prefix = block[:100].split(b"\0")[0], block[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _octal(field: bytes, position: int) -> int:
    """Read a size: octal digits, or an integer of all bytes where the first bit is set."""
    if field[0] & 0x80:
        size = int.from_bytes(field, "big") - (1 << 95)
    else:
        digits = field.split(b"\0")[0].strip() or b"0"
        size = -1 if digits.translate(None, b"01234567") else int(digits, 8)
    if not 0 <= size < 2**62:
        raise BrokenTarError(f"an invalid size at byte {position}")
    return size


def _decimal(text: bytes, position: int) -> int:
    if not text.isdigit() or len(text) > 18:
        raise BrokenTarError(f"an invalid size at byte {position}")
    return int(text)


def _fault(kind: bytes, pax: dict[str, bytes]) -> str | None:
    if kind in _LINKS:
        return "link"
    if kind in _DEVICES:
        return "device"
    sparse = any(key.startswith("GNU.sparse.") for key in pax)
    return None if kind in _FILES and not sparse else "unsupported_member"


def _after_sparse_map(file: BinaryIO, block: bytes, position: int) -> int:
    """Return where the content of a sparse file begins: its map may continue after the header."""
    has_more = block[482]
    while has_more:
        block = file.read(BLOCK)
        position += BLOCK
        if len(block) < BLOCK:
            raise BrokenTarError(f"it ends at byte {position}, in the map of a sparse file")
        has_more = block[504]
    return position


def _extension(file: BinaryIO, size: int, position: int) -> bytes:
    """Read the content of an extension header."""
    if size > MAX_EXTENSION_BYTES:
        raise BrokenTarError(f"a header of {size} bytes at byte {position}")
    data = file.read(size)
    if len(data) < size:
        raise BrokenTarError(f"it ends at byte {position + len(data)}, in a header")
    return data


def _pax_records(data: bytes, position: int) -> dict[str, bytes]:
    """Read records of the form `<length> <key>=<value>` and a newline; the length is that of the whole record."""
    records = {}
    index = 0
    while index < len(data) and data[index]:
        digits, space, _ = data[index : index + 20].partition(b" ")
        length = int(digits) if digits.isdigit() and space else 0
        key, equals, value = data[index + len(digits) + 1 : index + length].partition(b"=")
        if not equals or not value.endswith(b"\n") or index + length > len(data):
            raise BrokenTarError(f"a header that cannot be understood at byte {position}")
        records[key.decode(errors="replace")] = value[:-1]
        index += length
    return records
