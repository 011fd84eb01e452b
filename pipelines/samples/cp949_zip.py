"""ZIP archives whose member names are CP949, as Korean archivers write them; `zipfile` writes ASCII and UTF-8 only."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_NO_FLAGS = 0
_STORED = 0
_MIDNIGHT = 0
_FIRST_DAY = 0x21
"""1980-01-01, the earliest date that the format knows."""


def write_cp949_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write an uncompressed archive with the members in their order; the flag that says UTF-8 is not set.

    At most 65,535 members and 4 GiB. Raises UnicodeEncodeError when a name has a letter that CP949 lacks.
    """
    directory = []
    offset = 0
    with path.open("wb") as file:
        for name, data in members.items():
            raw = name.encode("cp949")
            facts = (_VERSION, _NO_FLAGS, _STORED, _MIDNIGHT, _FIRST_DAY, zlib.crc32(data), len(data), len(data))
            local = _LOCAL.pack(b"PK\x03\x04", *facts, len(raw), 0) + raw
            directory.append(_CENTRAL.pack(b"PK\x01\x02", _VERSION, *facts, len(raw), 0, 0, 0, 0, 0, offset) + raw)
            file.write(local + data)
            offset += len(local) + len(data)
        central = b"".join(directory)
        file.write(central)
        file.write(_END.pack(b"PK\x05\x06", 0, 0, len(members), len(members), len(central), offset, 0))
