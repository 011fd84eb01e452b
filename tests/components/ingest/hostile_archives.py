"""Archives written byte by byte, so that they may be wrong."""

import io
import struct
import tarfile
import zlib

from components.ingest.sources.source import Source

GOOD = {"good/1.jpg": b"first", "good/2.jpg": b"second" * 50}


def zip_bytes(entries):
    """Write a ZIP archive by hand; an entry is a dict of its fields."""
    body, directory = b"", b""
    for entry in entries:
        raw, data = entry["name"], entry.get("data", b"data")
        method = entry.get("method", 0)
        stored = entry.get("stored", data if method == 0 else deflate(data))
        flags, size, crc = entry.get("flags", 0), entry.get("size", len(data)), entry.get("crc", zlib.crc32(data))
        extra = entry.get("extra", b"")
        facts = struct.pack("<5H3I2H", 20, flags, method, 0, 33, crc, len(stored), size, len(raw), len(extra))
        local = entry.get("local", b"PK\3\4" + facts + raw + extra)
        directory += b"PK\1\2\24\3" + facts
        directory += struct.pack("<3H2I", 0, 0, 0, entry.get("mode", 0) << 16, entry.get("offset", len(body)))
        directory += raw + extra
        body += local + stored
    return body + directory + zip_end(len(entries), len(directory), len(body))


def zip_end(count, length, offset, disk=0):
    return b"PK\5\6" + struct.pack("<4H2IH", disk, disk, count, count, length, offset, 0)


def deflate(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def good_entries():
    return [{"name": name.encode(), "data": data, "method": 8} for name, data in GOOD.items()]


def tar_bytes(entries, kind=""):
    """Write a TAR archive; an entry is a TarInfo's fields and its data."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{kind}") as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry["name"])
            info.type = entry.get("type", tarfile.REGTYPE)
            info.linkname = entry.get("link", "")
            info.pax_headers = entry.get("pax", {})
            data = entry.get("data", b"data") if info.isreg() else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def good_tar_entries():
    return [{"name": name, "data": data} for name, data in GOOD.items()]


def open_bytes(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return Source(str(folder))


def tar_header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)
