"""Names of every encoding and form, and which of equal names counts."""

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_trees import contents, nfd, picture, run, write_folder, write_tar, write_zip

from components.ingest.sources.names import decode_names, logical_name
from components.ingest.sources.source import Source
from serving.runtime import s3 as s3_module
from serving.runtime.errors import InputError
from serving.runtime.storage import upload

# --- names ----------------------------------------------------------------------------------------------------------

KOREAN = "기쁨/한글 사진_남_30_기쁨.jpg"


@pytest.mark.parametrize("flags", [0, 0x800])
@pytest.mark.parametrize(
    ("raw", "original"),
    [
        (KOREAN.encode(), None),
        (nfd(KOREAN).encode(), nfd(KOREAN)),
        (KOREAN.encode("cp949"), None),
        (KOREAN.encode("cp949").replace(b"/", b"\\"), None),
    ],
    ids=["nfc", "nfd", "cp949", "backslash"],
)
def test_korean_names_in_a_zip(tmp_path, raw, original, flags):
    write_zip(tmp_path / "a.zip", {raw: b"x"}, flags=flags)
    source = Source(str(tmp_path / "a.zip"))
    assert source.paths == (KOREAN,) and source.read(KOREAN) == b"x"
    assert source.original(KOREAN) == original


def test_a_letter_whose_second_half_is_a_backslash(tmp_path):
    names = ["表情/ソフト_1.jpg", "表情/喜び_2.jpg", "能力/予想_3.jpg"]
    assert any(b"\\" in name.encode("cp932") for name in names)
    write_zip(tmp_path / "a.zip", {name.encode("cp932"): b"x" for name in names})
    assert Source(str(tmp_path / "a.zip")).paths == tuple(sorted(names))


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_korean_names_in_a_tar(tmp_path, encoding, dialect):
    write_tar(tmp_path / "a.tar", {KOREAN.encode(encoding): b"x"}, format=dialect)
    assert contents(Source(str(tmp_path / "a.tar"))) == {KOREAN: b"x"}


def test_korean_names_on_the_disk(tmp_path):
    write_folder(
        tmp_path / "raw",
        {
            b"utf8-" + "기쁨".encode() + b"/" + "사진1.jpg".encode("cp949"): b"1",
            nfd("기쁨/사진2.jpg").encode(): b"2",
            "슬픔/사진3.jpg".encode("cp949"): b"3",
        },
    )
    write_zip(tmp_path / "raw" / os.fsdecode("묶음.zip".encode("cp949")), {"사진4.jpg".encode("cp949"): b"4"})
    write_zip(tmp_path / "raw" / nfd("소리.ZIP"), {nfd("사진5.jpg").encode(): b"5"})
    source = Source(str(tmp_path / "raw"))
    assert contents(source) == {
        "utf8-기쁨/사진1.jpg": b"1",
        "기쁨/사진2.jpg": b"2",
        "슬픔/사진3.jpg": b"3",
        "묶음/사진4.jpg": b"4",
        "소리/사진5.jpg": b"5",
    }
    assert source.original("기쁨/사진2.jpg") == nfd("기쁨/사진2.jpg")
    assert source.original("소리/사진5.jpg") == nfd("소리/사진5.jpg")
    assert source.original("슬픔/사진3.jpg") is None


def test_the_original_name_is_kept_in_the_annotations(tmp_path):
    write_folder(tmp_path / "raw", {nfd("기쁨/사진.jpg").encode(): picture(), "기쁨/other.jpg": picture(1)})
    options = {"attribute": "emotion", "folders": "<class>"}
    images, _, _ = run(tmp_path / "raw", tmp_path / "out", format="class_folder", options=options)
    assert {image.file_name: image.source for image in images} == {
        "기쁨/other.jpg": None,
        "기쁨/사진.jpg": nfd("기쁨/사진.jpg"),
    }


@pytest.mark.parametrize(
    ("raws", "names"),
    [
        ([b"a.jpg"], ["a.jpg"]),
        (["호.jpg".encode("cp949")], ["ȣ.jpg"]),
        (["호.jpg".encode("cp949"), "기쁨".encode("cp949")], ["호.jpg", "기쁨"]),
        (["é.jpg".encode(), "기쁨".encode()], ["é.jpg", "기쁨"]),
        (["기쁨".encode(), "기쁨".encode("cp949")], ["기쁨", "기쁨"]),
        ([b"caf\xe9.jpg", "기쁨".encode()], ["café.jpg", "기쁨"]),
        (["猫/".encode("gbk") + b"1.jpg", "狗/照片.jpg".encode("gbk")], ["猫/1.jpg", "狗/照片.jpg"]),
        (["喜び/1.jpg".encode("cp932"), "悲しみ/2.jpg".encode("cp932")], ["喜び/1.jpg", "悲しみ/2.jpg"]),
        (["高興/1.jpg".encode("big5"), "悲傷/照片.jpg".encode("big5")], ["高興/1.jpg", "悲傷/照片.jpg"]),
        (["männlich/Günther.jpg".encode("cp1252")], ["männlich/Günther.jpg"]),
        ([b"\xff\xfe.jpg"], [None]),
        (["기쁨/".encode() + "호".encode("cp949"), b"\xb1\xe2"], ["기쁨/호", "기"]),
    ],
)
def test_names_are_decoded_together(raws, names):
    assert decode_names((raw, False) for raw in raws) == names


def test_a_promise_of_utf8_is_believed():
    raws = [("é".encode(), True), ("기쁨".encode("cp949"), False)]
    assert decode_names(raws) == ["é", "기쁨"]


@given(st.lists(st.text(alphabet=[chr(code) for code in range(0xAC00, 0xD7A4, 7)], min_size=2, max_size=6), min_size=3))
def test_korean_in_cp949_is_never_mojibake(words):
    """Only Hangul comes out, unless every single name is letters of two bytes in UTF-8 as well."""
    try:
        raws = [(f"{word}_남_30.jpg".encode("cp949"), False) for word in words]
    except UnicodeEncodeError:
        return
    assert decode_names(raws) == [f"{word}_남_30.jpg" for word in words]


@given(st.text(alphabet="a./\\:\0é", max_size=10))
def test_a_logical_name_stays_inside(name):
    logical = logical_name(name)
    if logical is not None:
        top = Path("/top")
        assert top in Path(os.path.normpath(top / logical)).parents
        assert logical_name(logical) == logical


# --- which names count ----------------------------------------------------------------------------------------------


def test_of_equal_names_the_first_stays(tmp_path):
    raw = write_folder(
        tmp_path / "raw",
        {"faces/1.jpg": b"loose", nfd("사진.jpg").encode(): b"decomposed", "사진.jpg".encode(): b"composed"},
    )
    write_zip(
        raw / "faces.zip", {"1.jpg": b"other!", "2.jpg": b"zip", b"./2.jpg": b"ZIP", "n.txt": b"1", b"./n.txt": b""}
    )
    write_tar(raw / "faces.tar", {"2.jpg": b"t", "1.jpg": b"tar..", "3.jpg": b"tar"})
    source = Source(str(raw))
    assert contents(source) == {
        "faces/1.jpg": b"loose", "faces/2.jpg": b"t", "faces/3.jpg": b"tar", "faces/n.txt": b"1",
        "사진.jpg": b"decomposed",
    }  # fmt: skip
    assert source.dropped.examples == {
        "duplicate_name": ["사진.jpg", "faces.zip: 1.jpg", "faces.zip: 2.jpg", "faces.zip: ./2.jpg"]
    }
    assert source.skipped.examples == {"duplicate_name": ["faces.tar: 1.jpg", "faces.zip: ./n.txt"]}


def test_archives_in_archives_stay_closed(tmp_path):
    write_zip(tmp_path / "a.zip", {"in.zip": b"PK", "x/in.TAR.GZ": b"", "x/._in.zip": b"", "1.jpg": b"1"})
    source = Source(str(tmp_path / "a.zip"))
    assert source.paths == ("1.jpg", "x/._in.zip")
    assert source.skipped.examples == {"nested_archive": ["a.zip: in.zip", "a.zip: x/in.TAR.GZ"]}
    assert not source.dropped.counts


def test_hidden_archives_are_files(tmp_path):
    write_folder(
        tmp_path / "raw", {"._faces.zip": b"twin", "__MACOSX/a.zip": b"", ".x/a.tar": b"", "d.zip/1.jpg": b"1"}
    )
    assert Source(str(tmp_path / "raw")).paths == ("._faces.zip", ".x/a.tar", "__MACOSX/a.zip", "d.zip/1.jpg")


def test_a_single_file_that_is_no_archive(tmp_path, bucket):
    (tmp_path / "a.jpg").write_bytes(picture())
    upload(tmp_path / "a.jpg", f"s3://{bucket}/a.jpg")
    for uri in (str(tmp_path / "a.jpg"), f"file://{tmp_path}/a.jpg", f"s3://{bucket}/a.jpg"):
        with pytest.raises(InputError, match=r"a\.jpg: a single file; expected a folder or an archive \(\.zip, \.tar"):
            Source(uri)


def test_odd_keys_in_s3(bucket, monkeypatch):
    keys = ["a//1.jpg", "../2.jpg", "/3.jpg", "._4.jpg", "x/\0.jpg", nfd("기.jpg")]
    monkeypatch.setattr(s3_module, "list_objects", lambda bucket, key: [(key, 1, "e") for key in keys])
    monkeypatch.setattr(s3_module, "read_object", lambda bucket, key: key.encode())
    source = Source(f"s3://{bucket}/p")
    assert contents(source) == {
        "._4.jpg": b"p/._4.jpg",
        "3.jpg": b"p//3.jpg",
        "a/1.jpg": b"p/a//1.jpg",
        "기.jpg": nfd("p/기.jpg").encode(),
    }
    assert source.dropped.examples == {"unsafe_path": ["../2.jpg", "x/\\x00.jpg"]}
    assert source.original("a/1.jpg") == "a//1.jpg"
