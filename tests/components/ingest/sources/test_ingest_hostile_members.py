"""Archives that mean harm: a member that cannot be had is counted, the others stay."""

import bz2
import gzip
import stat
import struct
import tarfile
import tracemalloc
import zlib

import pytest
from hostile_archives import (
    GOOD,
    deflate,
    good_entries,
    good_tar_entries,
    open_bytes,
    tar_bytes,
    tar_header,
    zip_bytes,
)
from source_trees import contents

from components.ingest.sources import tar_members
from serving.runtime.errors import InputError

UNSAFE = ["../x.jpg", "a/../../x.jpg", ".//../x.jpg", "..", "a/..", "/etc/x.jpg", "//server/x.jpg"]
UNSAFE += ["C:/x.jpg", "c:x.jpg", "./C:/x.jpg"]
NOTHING = {"dropped": {}, "skipped": {}}


def tallies(source):
    return {"dropped": source.dropped.examples, "skipped": source.skipped.examples}


ZIP_MEMBERS = [
    *({"name": name.encode(), "reason": "unsafe_path"} for name in UNSAFE),
    {"name": b"..\\x.jpg", "reason": "unsafe_path", "shown": "../x.jpg"},
    {"name": b"\\x.jpg", "reason": "unsafe_path", "shown": "/x.jpg"},
    {"name": b"a\0b.jpg", "reason": "unsafe_path", "shown": "a\\x00b.jpg"},
    {"name": b"x.jpg\0.exe", "reason": "unsafe_path", "shown": "x.jpg\\x00.exe"},
    {"name": b"", "reason": "unsafe_path"},
    {"name": b"\xff\xfe.jpg", "reason": "unreadable_name", "shown": "\\xff\\xfe.jpg"},
    {"name": b"\xff\xff.txt", "flags": 0x800, "reason": "unreadable_name", "shown": "\\xff\\xff.txt"},
    {"name": b"x.jpg", "mode": stat.S_IFLNK | 0o777, "data": b"/etc/passwd", "reason": "link"},
    {"name": b"x.jpg", "mode": stat.S_IFCHR | 0o666, "reason": "device"},
    {"name": b"x.jpg", "mode": stat.S_IFIFO | 0o666, "reason": "device"},
    {"name": b"x.jpg", "flags": 0x1, "reason": "encrypted"},
    {"name": b"x.jpg", "flags": 0x41, "reason": "encrypted"},
    {"name": b"x.json", "flags": 0x1, "reason": "encrypted"},
    {"name": b"__MACOSX/x.jpg", "flags": 0x1, "reason": "encrypted"},
    *({"name": b"x.jpg", "method": method, "stored": b"abcd", "reason": "unsupported_compression"}
      for method in (1, 6, 9, 12, 14, 93, 99)),
    {"name": b"x.jpg", "method": 12, "stored": bz2.compress(b"data"), "reason": "unsupported_compression"},
    {"name": b"x.jpg", "size": 2**29 + 1, "method": 8, "reason": "too_large"},
    {"name": b"x.jpg", "size": 7, "reason": "damaged_member"},
    {"name": b"x.jpg", "offset": 10**6, "reason": "damaged_member"},
    {"name": b"x.jpg", "size": 2**32 - 1, "reason": "damaged_member"},
    {"name": b"x.jpg", "offset": 2**32 - 1, "extra": b"\1\0\4\0abcd", "reason": "damaged_member"},
    {"name": b"in.zip", "reason": "nested_archive"},
    {"name": b"in.tar.gz", "flags": 0x800, "reason": "nested_archive"},
]  # fmt: skip
ONLY_WHEN_READ = [
    {"name": b"x.jpg", "crc": 1},
    {"name": b"x.jpg", "crc": 1, "method": 8},
    {"name": b"x.jpg", "method": 8, "stored": b"\xff" * 9},
    {"name": b"x.jpg", "method": 8, "stored": b""},
    {"name": b"x.jpg", "method": 8, "stored": deflate(bytes(10**6)), "data": b"small"},
    {"name": b"x.jpg", "method": 8, "stored": deflate(b"small"), "data": bytes(1000)},
    {"name": b"x.jpg", "local": b"PK\3\4" + bytes(22) + b"\xff\xff\xff\xff" + b"x.jpg"},
    {"name": b"x.jpg", "local": b"junk" + bytes(26) + b"x.jpg"},
    {"name": b"x.json", "crc": 1},
]


def is_image(name):
    return name.endswith(b".jpg") and not name.startswith(b"__MACOSX")


@pytest.mark.parametrize("member", ZIP_MEMBERS, ids=lambda member: f"{member['name']!r}-{member['reason']}")
def test_a_hostile_zip_member_is_counted_and_the_others_stay(tmp_path, member):
    one, two = good_entries()
    for place in (0, 1, 2):
        entries = [one, two]
        entries.insert(place, member)
        source = open_bytes(tmp_path / str(place), "faces.zip", zip_bytes(entries))
        name = member.get("shown", member["name"].decode(errors="replace"))
        tally = "dropped" if is_image(member["name"]) else "skipped"
        assert tallies(source) == NOTHING | {tally: {member["reason"]: [f"faces.zip: {name}"]}}
        assert contents(source) == {f"faces/{path}": data for path, data in GOOD.items()}


@pytest.mark.parametrize("member", ONLY_WHEN_READ, ids=range(len(ONLY_WHEN_READ)))
def test_a_damaged_zip_member_is_counted_when_it_is_read(tmp_path, member):
    one, two = good_entries()
    source = open_bytes(tmp_path, "faces.zip", zip_bytes([one, member, two]))
    assert tallies(source) == NOTHING
    assert contents(source) == {f"faces/{path}": data for path, data in GOOD.items()}
    name = member["name"].decode()
    tally = "dropped" if is_image(member["name"]) else "skipped"
    assert tallies(source) == NOTHING | {tally: {"damaged_member": [f"faces.zip: {name}"]}}
    with pytest.raises(InputError, match=rf"'faces/{name}' in faces\.zip is damaged"):
        source.read(f"faces/{name}")


def test_members_that_share_their_bytes_are_no_members(tmp_path):
    """A few bytes that a thousand members inflate to gigabytes."""
    one = {"name": b"0.jpg", "data": bytes(10**6), "method": 8}
    again = {"offset": 0, "local": b"", "stored": deflate(bytes(10**6))}
    entries = [one, *(one | again | {"name": f"{number}.jpg".encode()} for number in range(1, 50))]
    source = open_bytes(tmp_path, "bomb.zip", zip_bytes(entries))
    assert source.paths == ("bomb/0.jpg",)
    assert source.dropped.counts == {"damaged_member": 49}


def test_a_member_that_lies_about_its_size_inflates_no_further(tmp_path):
    bomb = {"name": b"x.jpg", "method": 8, "stored": deflate(bytes(50 * 2**20)), "data": b"tiny"}
    source = open_bytes(tmp_path, "a.zip", zip_bytes([bomb]))
    tracemalloc.start()
    assert contents(source) == {}
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_unicode_path_fields_count_only_for_their_name(tmp_path):
    def field(raw, name):
        content = b"\1" + zlib.crc32(raw).to_bytes(4, "little") + name
        return struct.pack("<2H", 0x7075, len(content)) + content

    entries = [
        {"name": b"??.jpg", "extra": field(b"??.jpg", "사진.jpg".encode())},
        {"name": b"a.jpg", "extra": field(b"other.jpg", b"b.jpg")},
        {"name": b"c.jpg", "extra": field(b"c.jpg", b"../c.jpg")},
        {"name": b"d.jpg", "extra": b"\x75\x70\xff\xffshort"},
    ]
    source = open_bytes(tmp_path, "a.zip", zip_bytes(entries))
    assert source.paths == ("a/a.jpg", "a/d.jpg", "a/사진.jpg")
    assert source.dropped.examples == {"unsafe_path": ["a.zip: ../c.jpg"]}


TAR_MEMBERS = [
    *({"name": name, "reason": "unsafe_path"} for name in UNSAFE),
    {"name": "..\\x.jpg", "reason": "unsafe_path"},
    {"name": "x.jpg", "pax": {"path": "a\0b.jpg"}, "reason": "unsafe_path", "shown": "a\\x00b.jpg"},
    {"name": "\udcff\udcfe.jpg", "reason": "unreadable_name", "shown": "\\xff\\xfe.jpg"},
    {"name": "x.jpg", "type": tarfile.SYMTYPE, "link": "/etc/passwd", "reason": "link"},
    {"name": "x.jpg", "type": tarfile.LNKTYPE, "link": "good/1.jpg", "reason": "link"},
    {"name": "x", "type": tarfile.SYMTYPE, "link": "..", "reason": "link"},
    {"name": "x.jpg", "type": tarfile.CHRTYPE, "reason": "device"},
    {"name": "x.jpg", "type": tarfile.BLKTYPE, "reason": "device"},
    {"name": "x.jpg", "type": tarfile.FIFOTYPE, "reason": "device"},
    {"name": "x.jpg", "type": b"Z", "reason": "unsupported_member"},
    {"name": "x.jpg", "pax": {"GNU.sparse.major": "1"}, "reason": "unsupported_member"},
    {"name": "in.zip", "reason": "nested_archive"},
    {"name": "in.tgz", "reason": "nested_archive"},
]


@pytest.mark.parametrize("kind", ["", "gz"])
@pytest.mark.parametrize("member", TAR_MEMBERS, ids=lambda member: f"{member['name']!a}-{member['reason']}")
def test_a_hostile_tar_member_is_counted_and_the_others_stay(tmp_path, member, kind):
    one, two = good_tar_entries()
    archive = "faces.tar.gz" if kind else "faces.tar"
    source = open_bytes(tmp_path, archive, tar_bytes([one, member, two], kind))
    tally = "dropped" if member["name"].endswith(".jpg") else "skipped"
    example_name = f"{archive}: {member.get('shown', member['name'])}"
    assert tallies(source) == NOTHING | {tally: {member["reason"]: [example_name]}}
    assert contents(source) == {f"faces/{path}": data for path, data in GOOD.items()}


def test_a_sparse_file_with_a_long_map_is_counted(tmp_path):
    header = bytearray(tarfile.TarInfo("x.jpg").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[482] = 1
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    more = bytearray(512)
    more[504] = 1
    archive = bytes(header) + bytes(more) + bytes(512) + tar_bytes(good_tar_entries())
    source = open_bytes(tmp_path, "faces.tar", archive)
    assert source.dropped.counts == {"unsupported_member": 1}
    assert contents(source) == {f"faces/{path}": data for path, data in GOOD.items()}
    with pytest.raises(InputError, match="it ends at byte"):
        open_bytes(tmp_path, "faces.tar", archive[:600])


@pytest.mark.parametrize("signed", [False, True])
def test_headers_of_the_oldest_archives(tmp_path, signed):
    """Without a magic number, a folder told by its slash, the sum of the bytes taken as signed ones."""

    def header(name, size):
        block = bytearray(512)
        block[: len(name)] = name
        block[124:136] = b"%11o " % size
        block[148:156] = b" " * 8
        total = sum(block) - (256 * sum(byte > 127 for byte in block) if signed else 0)
        block[148:156] = b"%6o\0 " % total
        return bytes(block)

    archive = header("폴더/".encode(), 0) + header("폴더/1.jpg".encode(), 3) + b"one".ljust(512, b"\0") + bytes(1024)
    assert contents(open_bytes(tmp_path, "a.tar", archive)) == {"a/폴더/1.jpg": b"one"}


def test_sizes_of_more_than_8_gib_are_understood(tmp_path):
    with pytest.raises(InputError, match="it ends at byte"):
        open_bytes(tmp_path, "a.tar", tar_header("x.jpg", 2**34) + bytes(10240))
    with pytest.raises(InputError, match="inflates to more than"):
        open_bytes(tmp_path / "gz", "a.tgz", gzip.compress(tar_header("x.jpg", 2**34) + bytes(10240)))


@pytest.mark.parametrize("kind", ["", "gz"])
def test_large_members_of_a_tar_are_passed_over(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(tar_members, "MAX_FILE_BYTES", 1000)
    entries = [{"name": "x.jpg", "data": bytes(1001)}, {"name": "l.json", "data": bytes(1001)}, *good_tar_entries()]
    source = open_bytes(tmp_path, "a.tar.gz" if kind else "a.tar", tar_bytes(entries, kind))
    assert source.dropped.counts == source.skipped.counts == {"too_large": 1}
    assert len(contents(source)) == 2
