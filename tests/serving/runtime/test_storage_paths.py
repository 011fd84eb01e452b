"""No name leads out of its folder, and no copy replaces its source."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime import s3 as s3_module
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import Entry, Location, digest, download, upload


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "a//b", ".", "a/.", "..", "a\0b"])
def test_no_path_leads_out_of_a_folder(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "in" / "a").mkdir(parents=True)
    with pytest.raises(StorageError, match="leads out"):
        Location(str(tmp_path / "in")).read(path)


@pytest.mark.parametrize("key", ["../secret", "/abs", "a/../../secret", "a//b", "./a"])
def test_no_key_leads_out_of_the_target(key: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A server that stores keys as files cannot hold such keys itself, so its listing is made up.
    monkeypatch.setattr(s3_module, "list_objects", lambda bucket, prefix: [("ok.jpg", 1, "e"), (key, 1, "e")])
    with pytest.raises(StorageError, match="leads out"):
        download("s3://raw/set", tmp_path / "target")
    assert not (tmp_path / "secret").exists() and not (tmp_path / "target").exists()


@given(st.text(alphabet="a./\\\0b", max_size=12))
def test_a_path_is_inside_or_refused(path: str) -> None:
    from serving.runtime.storage import _inside

    top = Path("/top/folder")
    try:
        file = _inside(top, path)
    except StorageError:
        return
    assert os.path.normpath(file) == str(file)
    assert file == top or top in file.parents


def test_source_equal_to_destination_is_refused(tree: Path) -> None:
    link = tree.parent / "link"
    link.symlink_to(tree)
    for action in (
        lambda: download(str(tree), tree),
        lambda: download(str(tree), link),
        lambda: download(str(tree / "a.jpg"), tree),
        lambda: upload(tree, f"file://{link}"),
        lambda: upload(tree / "a.jpg", str(tree / "a.jpg")),
        lambda: upload(tree / "a.jpg", f"{tree}/"),
    ):
        with pytest.raises(InputError, match="the same"):
            action()
    assert (tree / "a.jpg").read_bytes() == b"one"


def test_a_key_that_is_both_file_and_folder(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "list_objects", lambda bucket, key: [("a", 1, "e"), ("a/b", 1, "e")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"x")
    with pytest.raises(StorageError, match="out/a"):
        download("s3://raw/set", tmp_path / "out")


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(b"1")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "top")
    assert Location(str(tmp_path / "top")).list() == [Entry("linked/1.jpg", 1, "")]


def test_a_name_that_is_not_utf8(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xb0\xa1.jpg")).write_bytes(b"x")
    (entry,) = Location(str(folder)).list()
    assert Location(str(folder)).read(entry.path) == b"x" and digest(Location(str(folder)))
    with pytest.raises(StorageError, match="UTF-8"):
        upload(folder, f"s3://{bucket}")
