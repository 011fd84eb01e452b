"""Archives that are broken: one clear error each, whatever the damage."""

import gzip
import os
import shutil
import stat
import struct
import tarfile
import unicodedata
import uuid
from pathlib import Path

import pytest
from hostile_archives import (
    GOOD,
    good_entries,
    good_tar_entries,
    open_bytes,
    tar_bytes,
    tar_header,
    zip_bytes,
    zip_end,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from source_trees import contents, picture

from components.ingest.ingest import ingest
from components.ingest.sources import tar_members
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import read_annotations
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import upload

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


def test_a_broken_archive_in_s3(bucket, tmp_path):
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
    assert report.counts.images == 41
    assert report.dropped == {"damaged_member": 1, "encrypted": 1, "unsafe_path": 1}
    assert report.skipped == {"hidden": 1, "link": 1, "nested_archive": 1, "not_an_image_name": 1}
    info = read_annotations(tmp_path / "o" / "a.json").info
    assert info.dropped_examples["damaged_member"] == ["sad.zip: crc.jpg"]
    assert info.dropped_examples["encrypted"] == ["sad.zip: locked.jpg"]
    assert {file: file.read_bytes() for file in raw.rglob("*") if file.is_file()} == before
    with pytest.raises(InputError, match=r"3 of 44 images cannot be used, at most 5%.*damaged_member \(sad\.zip"):
        ingest(str(raw), tmp_path / "p" / "images", tmp_path / "p" / "a.json", format="class_folder")
    assert not list((tmp_path / "p").rglob("*"))
    assert not Path(tmp_path / "up.jpg").exists()


def test_an_archive_with_a_password_throughout(tmp_path):
    entries = [{"name": f"happy/{number}.jpg".encode(), "flags": 1} for number in range(5)]
    (tmp_path / "a.zip").write_bytes(zip_bytes(entries))
    with pytest.raises(InputError, match=r"no image found.*lost images: 5 encrypted \(a\.zip: happy/0\.jpg"):
        ingest(str(tmp_path / "a.zip"), tmp_path / "images", tmp_path / "a.json", format="class_folder")
