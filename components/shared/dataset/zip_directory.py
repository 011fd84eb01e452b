"""The central directory of an uncompressed ZIP archive, plain or ZIP64, as numpy tables.

The record layouts are those of PKWARE's APPNOTE, sections 4.3.12 to 4.3.16 and 4.5.3.
"""

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.runtime.errors import InputError

LOCAL_HEADER = 30
"""Bytes before the name in front of every entry."""

_CENTRAL = np.dtype(
    {
        "names": ["signature", "flags", "method", "crc", "stored", "size", "extra_length", "offset"],
        "formats": ["S4", "<u2", "<u2", "<u4", "<u4", "<u4", "<u2", "<u4"],
        "offsets": [0, 8, 10, 16, 20, 24, 30, 42],
        "itemsize": 46,
    }
)
_LENGTHS = struct.Struct("<3H")
_LENGTHS_AT = 28
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_MAX_COMMENT = 0xFFFF
_FULL = 0xFFFFFFFF
_ENCRYPTED = 0x1
_UTF8 = 0x800


def read_directory(file: int, path: Path) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the names of the files in an archive, and an (entries, 3) table of header offset, size and CRC-32.

    Raises InputError when the archive is not whole, or holds a compressed or encrypted file.
    """
    start, length, count = _find_directory(file, path)
    directory = os.pread(file, length, start)
    positions, raw_names = [], []
    position = 0
    for _ in range(count):
        if len(directory) < position + _CENTRAL.itemsize:
            raise _damaged(path)
        name_length, extra_length, comment_length = _LENGTHS.unpack_from(directory, position + _LENGTHS_AT)
        name_start = position + _CENTRAL.itemsize
        positions.append(position)
        raw_names.append(directory[name_start : name_start + name_length])
        position = name_start + name_length + extra_length + comment_length
    if position != length:
        raise _damaged(path)
    at = np.array(positions, dtype=np.int64)
    heads = np.frombuffer(directory, np.uint8)[at[:, None] + np.arange(_CENTRAL.itemsize)].view(_CENTRAL)[:, 0]
    utf8 = (heads["flags"] & _UTF8 != 0).tolist()
    names = [
        raw.decode("utf-8" if flag or raw.isascii() else "cp437", errors="replace")
        for raw, flag in zip(raw_names, utf8, strict=True)
    ]
    is_file = np.fromiter((not name.endswith("/") for name in names), bool, count)
    for wrong, what in [
        (heads["flags"] & _ENCRYPTED != 0, "encrypted; write the archive without a password"),
        (heads["method"] != zipfile.ZIP_STORED, "compressed; write the archive uncompressed (zip -0)"),
    ]:
        if np.any(wrong & is_file):
            raise InputError(f"{path}: '{names[int(np.argmax(wrong & is_file))]}' is {what}")
    wide = np.stack([heads[name] for name in ("size", "stored", "offset")], axis=1).astype(np.int64)
    for row in np.flatnonzero((wide == _FULL).any(axis=1)):
        extra_start = positions[row] + _CENTRAL.itemsize + len(raw_names[row])
        wide[row] = _large_sizes(
            directory[extra_start : extra_start + int(heads["extra_length"][row])], wide[row], path
        )
    size, stored, offset = wide.T
    inside = (wide >= 0).all(axis=1) & (offset <= start) & (size <= start - LOCAL_HEADER - offset)
    if not np.all(inside & (size == stored) & (heads["signature"] == b"PK\1\2")):
        raise _damaged(path)
    table = np.stack([offset, size, heads["crc"].astype(np.int64)], axis=1)
    return [name for name, kept in zip(names, is_file.tolist(), strict=True) if kept], table[is_file]


def _find_directory(file: int, path: Path) -> tuple[int, int, int]:
    """Return the start, the length in bytes and the number of entries of the central directory."""
    total = os.fstat(file).st_size
    tail_start = max(0, total - _MAX_COMMENT - _END.size)
    tail = os.pread(file, total - tail_start, tail_start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise _damaged(path)
    _, _, _, _, count, length, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if count == 0xFFFF or _FULL in (length, start):
        locator = os.pread(file, _END64_LOCATOR.size, end - _END64_LOCATOR.size) if end >= _END64_LOCATOR.size else b""
        if locator[:4] == b"PK\6\7":
            end = _END64_LOCATOR.unpack(locator)[2]
            record = os.pread(file, _END64.size, end) if end < total else b""
            if len(record) < _END64.size or record[:4] != b"PK\6\6":
                raise _damaged(path)
            *_, count, length, start = _END64.unpack(record)
    if start + length != end or count * _CENTRAL.itemsize > length:
        raise _damaged(path)
    return start, length, count


def _large_sizes(extra: bytes, values: npt.NDArray[np.int64], path: Path) -> list[int]:
    """Replace the values that do not fit into 32 bits by those of the ZIP64 extra field (header id 1)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == 1 and len(field) >= 8 * int((values == _FULL).sum()):
            wide = iter(struct.unpack_from(f"<{len(field) // 8}q", field))
            return [next(wide) if value == _FULL else int(value) for value in values]
        at += 4 + length
    raise _damaged(path)


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: not a whole ZIP archive; it is damaged or was cut short, write or copy it again")
