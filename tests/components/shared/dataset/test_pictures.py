"""Pictures in a folder tree or a ZIP archive that somebody packed."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from components.shared.dataset import pictures as module
from components.shared.dataset.archive import OtherPictureError
from components.shared.dataset.pictures import find_pictures
from serving.runtime.errors import ImageError, InputError

CONTENT = b"the bytes of a picture" * 20


@pytest.fixture(params=["tree", "zip"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a.png").write_bytes(CONTENT)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.write(tmp_path / "tree/a.png", "a.png")
    return tmp_path / str(request.param)


def test_another_picture_of_the_name_is_refused(images: Path) -> None:
    pictures, _ = find_pictures(images)
    assert pictures.read("a.png") == pictures.read("a.png", hashlib.sha256(CONTENT).hexdigest()) == CONTENT
    with pytest.raises(OtherPictureError, match="'a.png' is another picture than the one of this name"):
        pictures.read("a.png", "0" * 64)


@pytest.mark.parametrize(
    ("method", "place", "value", "reason"),
    [
        ("stored", "content", b"X", "truncated"),
        ("deflated", "content", b"\xff\xff\xff\xff", "truncated"),
        ("bzip2", "content", b"\xff\xff\xff\xff", "truncated"),
        ("lzma", "content", b"\xff" * 12, "truncated"),
        ("stored", "flags", b"\x01", "unsupported"),
        ("stored", "method", b"\x63", "unsupported"),
    ],
)
def test_what_cannot_be_unpacked_is_an_image_that_cannot_be_used(
    method: str, place: str, value: bytes, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w", getattr(zipfile, f"ZIP_{method.upper()}")) as archive:
        archive.writestr("a.png", CONTENT)
    data = bytearray(file.read_bytes())
    local, central = 0, data.index(b"PK\1\2")
    starts = {"content": [local + 35], "flags": [local + 6, central + 8], "method": [local + 8, central + 10]}[place]
    for start in starts:
        data[start : start + len(value)] = value
    file.write_bytes(data)
    pictures, _ = find_pictures(file)
    with pytest.raises(ImageError) as refused:
        pictures.read("a.png")
    assert refused.value.reason == reason


def test_a_file_that_is_no_photo_by_its_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2000))
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 1999)
    pictures, _ = find_pictures(tmp_path / "photos.zip")
    with pytest.raises(ImageError, match="2000 bytes; at most 1999"):
        pictures.read("a.png")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for _ in range(2):
            archive.writestr("a.png", CONTENT)
    with pytest.raises(InputError, match="'a.png' occurs twice in the archive"):
        find_pictures(tmp_path / "photos.zip")
