"""Archives that are broken or mean harm: a member that cannot be had is counted, an archive gets one clear error."""

import bz2
import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import tracemalloc
import unicodedata
import uuid
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from components.ingest import tar_members
from components.ingest.ingest import ingest
from components.ingest.source import Source
from components.shared.dataset.annotations import read_annotations
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import make_bucket, upload

GOOD = {"good/1.jpg": b"first", "good/2.jpg": b"second" * 50}


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 20, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


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


def contents(source):
    return dict(source.stream(source.paths))


def open_bytes(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return Source(str(folder))


# --- members that cannot be had -------------------------------------------------------------------------------------

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
    {"name": b"caf\xe9.jpg", "reason": "unreadable_name", "shown": "caf\\xe9.jpg"},
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
    {"name": "caf\udce9.jpg", "reason": "unreadable_name", "shown": "caf\\xe9.jpg"},
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


# --- archives that cannot be had ------------------------------------------------------------------------------------

WHOLE_ZIP = zip_bytes(good_entries())
DIRECTORY = WHOLE_ZIP.index(b"PK\1\2")
WHOLE_TAR = tar_bytes(good_tar_entries())
BROKEN = {
    "none.zip": b"<html>404</html>",
    "empty.zip": b"",
    "cut.zip": WHOLE_ZIP[:-10],
    "half.zip": WHOLE_ZIP[: len(WHOLE_ZIP) // 2],
    "headless.zip": WHOLE_ZIP[50:],
    "count.zip": zip_end(5, 100, 0),
    "long.zip": WHOLE_ZIP[:-22] + zip_end(2, 2**31, 0),
    "signature.zip": WHOLE_ZIP.replace(b"PK\1\2", b"PK\1\7"),
    "names.zip": WHOLE_ZIP[: DIRECTORY + 28] + b"\xff\xff" + WHOLE_ZIP[DIRECTORY + 30 :],
    "miscounted.zip": WHOLE_ZIP[:-22] + zip_end(1, len(WHOLE_ZIP) - 22 - DIRECTORY, DIRECTORY),
    "zip64.zip": WHOLE_ZIP[:-22] + b"PK\6\7" + struct.pack("<IQI", 0, 10**9, 1) + zip_end(0xFFFF, 2**32 - 1, 2**32 - 1),
    "wide.zip": zip_end(0xFFFF, 2**32 - 1, 2**32 - 1),
    "none.tar": b"<html>404</html>" * 99,
    "empty.tar": b"",
    "cut.tar": WHOLE_TAR[:1100],
    "unclosed.tar": WHOLE_TAR[:2048],
    "header.tar": WHOLE_TAR[:1024] + b"x" + WHOLE_TAR[1025:],
    "zip.tar": WHOLE_ZIP * 9,
    "none.tar.gz": b"<html>404</html>",
    "empty.tar.gz": b"",
    "cut.tar.gz": gzip.compress(os.urandom(9) + WHOLE_TAR)[:-20],
    "unclosed.tgz": gzip.compress(WHOLE_TAR[:2048]),
    "checksum.tgz": (lambda data: data[:-8] + b"0000" + data[-4:])(gzip.compress(WHOLE_TAR)),
    "deflate.tgz": gzip.compress(WHOLE_TAR)[:40] + b"\xff" * 300,
    "plain.tar.gz": WHOLE_TAR,
    "tail.tgz": gzip.compress(WHOLE_TAR) + b"something else",
    "pax.tar": tar_bytes([{"name": "x.jpg", "pax": {"size": "lots"}}]),
    "paxed.tar": tar_bytes([{"name": "x.jpg", "pax": {"comment": "12345"}}]).replace(b"17 comment", b"99 comment"),
    "negative.tar": b"",
    "name.tar": b"",
}  # fmt: skip


def tar_header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


BROKEN["negative.tar"] = tar_header("x.jpg", -512) + bytes(10240)
BROKEN["name.tar"] = tar_header("x", 2**33, tarfile.GNUTYPE_LONGNAME) + bytes(10240)


@pytest.mark.parametrize("name", BROKEN)
def test_an_archive_that_is_broken_is_one_clear_error(tmp_path, name):
    (tmp_path / "raw" / "x").mkdir(parents=True)
    (tmp_path / "raw" / "x" / name).write_bytes(BROKEN[name])
    kind = "ZIP" if name.endswith("zip") else "TAR"
    for uri in (tmp_path / "raw", tmp_path / "raw" / "x" / name):
        with pytest.raises(InputError, match=rf"/{name}: not a whole {kind} archive; .*copy it again") as caught:
            Source(str(uri))
        assert len(str(caught.value)) < 400


def test_a_broken_archive_in_s3(s3, tmp_path):
    bucket = f"t{uuid.uuid4().hex}"
    make_bucket(bucket)
    for name in ("none.zip", "half.zip", "cut.tar", "cut.tar.gz", "empty.tgz", "empty.zip", "deflate.tgz"):
        (tmp_path / name).write_bytes(BROKEN.get(name, b""))
        upload(tmp_path / name, f"s3://{bucket}/{name}/")
        for uri in (f"s3://{bucket}/{name}", f"s3://{bucket}/{name}/{name}"):
            with pytest.raises(InputError, match=rf"^s3://{bucket}/{name}/{name}: not a whole"):
                Source(uri)


def test_a_split_archive_says_so(tmp_path):
    with pytest.raises(InputError, match=r"a\.zip: one part of a split ZIP archive; join the parts"):
        open_bytes(tmp_path, "a.zip", WHOLE_ZIP[:-22] + zip_end(2, 0, 0, disk=1))


@pytest.mark.parametrize("where", ["member", "end"])
def test_a_gzip_bomb_is_stopped(tmp_path, monkeypatch, where):
    monkeypatch.setattr(tar_members, "_FREE_INFLATION", 2**20)
    zeros = bytes(16 * 2**20)
    entries = [{"name": "x.jpg", "data": zeros}, *good_tar_entries()] if where == "member" else good_tar_entries()
    data = gzip.compress(tar_bytes(entries) + (b"" if where == "member" else zeros))
    with pytest.raises(InputError, match=r"a\.tgz.*inflates to more than 100 times its size"):
        open_bytes(tmp_path, "a.tgz", data)


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.zip", zip_end(0, 0, 0)), ("a.tar", bytes(10240)), ("a.tgz", gzip.compress(bytes(10240))),
     ("a.zip", zip_bytes([{"name": b"folder/", "data": b""}]))],
    ids=["zip", "tar", "tgz", "folder"],  # bytes as names would hold the time of their making
)  # fmt: skip
def test_an_archive_without_members_is_counted(tmp_path, name, data):
    source = open_bytes(tmp_path / "raw", name, data)
    assert source.paths == () and source.skipped.examples == {"empty_archive": [name]}
    for uri in (tmp_path / "raw", tmp_path / "raw" / name):
        with pytest.raises(InputError, match=rf"no image found.*1 empty_archive \({name}\)"):
            ingest(str(uri), tmp_path / "out" / "images", tmp_path / "out" / "a.json", format="class_folder")


# --- whatever is done to an archive ---------------------------------------------------------------------------------


def damaged(data, changes, cut):
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - cut % len(changed)])


CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["a.zip", "a.tar", "a.tgz"]), changes=CHANGES, cut=st.just(0) | st.integers(0, 10**6))
@example(name="a.zip", changes=[], cut=0)
def test_no_damage_gives_a_traceback_or_wrong_bytes(tmp_path, name, changes, cut):
    whole = {"a.zip": WHOLE_ZIP, "a.tar": WHOLE_TAR[:3584], "a.tgz": gzip.compress(WHOLE_TAR, mtime=0)}[name]
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    (folder / name).write_bytes(damaged(whole, changes, cut))
    try:
        source = Source(str(folder / name))
        found = contents(source)
    except (InputError, StorageError):
        return
    finally:
        shutil.rmtree(folder)
    lost = source.dropped.total + source.skipped.total
    assert len(source.paths) + lost >= 1
    assert all(len(data) <= 2**20 for data in found.values())
    if name == "a.zip":
        assert set(found.values()) <= set(GOOD.values()), "the checksum tells"
    for path in source.paths:
        assert path == unicodedata.normalize("NFC", path) and ".." not in path.split("/") and path[0] != "/"
        path.encode()
    for tally in (source.dropped, source.skipped):
        assert all(text.isprintable() for texts in tally.examples.values() for text in texts)


# --- what ends up in the report -------------------------------------------------------------------------------------


def test_the_report_counts_what_an_archive_hides(tmp_path):
    raw = tmp_path / "raw"
    (raw / "happy").mkdir(parents=True)
    for number in range(40):
        (raw / "happy" / f"{number:02}.jpg").write_bytes(picture(number))
    hostile = [
        {"name": b"ok.jpg", "data": picture(99)},
        {"name": b"crc.jpg", "data": picture(98), "crc": 1},
        {"name": b"locked.jpg", "flags": 1},
        {"name": b"../up.jpg"},
        {"name": b"__MACOSX/._ok.jpg"},
        {"name": b"link", "mode": stat.S_IFLNK},
        {"name": b"in.zip"},
        {"name": b"Thumbs.db"},
    ]
    (raw / "sad.zip").write_bytes(zip_bytes(hostile))
    before = {file: file.read_bytes() for file in raw.rglob("*") if file.is_file()}
    options = {"attribute": "label", "max_dropped": 0.1}
    report = ingest(
        str(raw), tmp_path / "o" / "images", tmp_path / "o" / "a.json", format="class_folder", options=options
    )
    assert report.images == 41
    assert report.dropped == {"damaged_member": 1, "encrypted": 1, "unsafe_path": 1}
    assert report.skipped == {"hidden": 1, "link": 1, "nested_archive": 1, "not_an_image_name": 1}
    info = read_annotations(tmp_path / "o" / "a.json").info
    assert info["dropped_examples"]["damaged_member"] == ["sad.zip: crc.jpg"]
    assert info["dropped_examples"]["encrypted"] == ["sad.zip: locked.jpg"]
    assert {file: file.read_bytes() for file in raw.rglob("*") if file.is_file()} == before
    with pytest.raises(InputError, match=r"3 of 44 images cannot be used, at most 5%.*damaged_member \(sad\.zip"):
        ingest(str(raw), tmp_path / "p" / "images", tmp_path / "p" / "a.json", format="class_folder")
    assert not list((tmp_path / "p").rglob("*"))
    assert not Path(tmp_path / "up.jpg").exists()


def test_an_archive_with_a_password_throughout(tmp_path):
    entries = [{"name": f"happy/{number}.jpg".encode(), "flags": 1} for number in range(5)]
    (tmp_path / "a.zip").write_bytes(zip_bytes(entries))
    with pytest.raises(InputError, match=r"no image found.*dropped: 5 encrypted \(a\.zip: happy/0\.jpg"):
        ingest(str(tmp_path / "a.zip"), tmp_path / "images", tmp_path / "a.json", format="class_folder")
