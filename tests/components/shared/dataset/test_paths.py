"""Paths of other machines and systems, and the files that they name."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.dataset.paths import PathResolver

FILES = (
    "images/1.jpg",
    "images/2.JPG",
    "images/sub/3.jpg",
    "old/sub/3.jpg",
    "얼굴/하나.jpg",
    "a b.jpg",
    "manifest.csv",
)


@pytest.mark.parametrize(
    ("written", "path", "how"),
    [
        ("images/1.jpg", "images/1.jpg", None),
        ("./images//1.jpg", "images/1.jpg", None),
        ("images\\1.jpg", "images/1.jpg", None),
        ("images\\sub/3.jpg", "images/sub/3.jpg", None),
        ("a%20b.jpg", "a b.jpg", None),
        (unicodedata.normalize("NFD", "얼굴/하나.jpg"), "얼굴/하나.jpg", None),
        ("1.jpg", "images/1.jpg", "path_by_suffix"),
        ("C:\\data\\images\\1.jpg", "images/1.jpg", "path_by_suffix"),
        ("\\\\server\\share\\images\\1.jpg", "images/1.jpg", "path_by_suffix"),
        ("/home/x/images/1.jpg", "images/1.jpg", "path_by_suffix"),
        ("/home/x/photos/1.jpg", "images/1.jpg", "path_by_suffix"),
        ("../input/faces/images/1.jpg", "images/1.jpg", "path_by_suffix"),
        ("images/1", "images/1.jpg", "path_by_suffix"),
        ("A B", "a b.jpg", "path_by_suffix"),
        ("/old/sub/3.jpg", "old/sub/3.jpg", "path_by_suffix"),
        ("file:///mnt/images/1.jpg", "images/1.jpg", "path_by_suffix"),
        ("https://host:1/images/1.jpg?size=1", "images/1.jpg", "path_by_suffix"),
        ("s3://bucket/k/images/1.jpg", "images/1.jpg", "path_by_suffix"),
        ("/data/local-files/?d=images/1.jpg", "images/1.jpg", "path_by_suffix"),
        ("/data/local-files/?d=images%2F1.jpg", "images/1.jpg", "path_by_suffix"),
        ("Images/1.JPG", "images/1.jpg", "path_by_case"),
        ("IMAGES\\2.jpg", "images/2.JPG", "path_by_case"),
        ("D:\\Faces\\IMAGES\\2.jpg", "images/2.JPG", "path_by_suffix"),
    ],
)
def test_a_path_is_found(written, path, how):
    resolver = PathResolver(FILES)
    assert resolver.resolve(written) == path == resolver.resolve(written)
    assert resolver.notes.counts == ({how: 1} if how else {})


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("gone.jpg", "missing_file"),
        ("3.jpg", "ambiguous_path"),
        ("sub/3.jpg", "ambiguous_path"),
        ("/x/sub/3.jpg", "ambiguous_path"),
        ("", "missing_file"),
        (".", "missing_file"),
        ("/", "missing_file"),
        ("..", "missing_file"),
        ("images", "missing_file"),
        ("old/1.jpg", "missing_file"),
        ("/data/old/1.jpg", "missing_file"),
        ("train/1.jpg", "missing_file"),
        ("/data/train/1.jpg", "missing_file"),
        ("other/1.jpg", "missing_file"),
        ("1.png", "missing_file"),
    ],
)
def test_a_path_of_no_file_or_of_several_is_not_guessed(written, reason):
    resolver = PathResolver(FILES)
    assert resolver.resolve(written) is None and resolver.reason(written) == reason
    assert not resolver.notes.counts


def test_below_a_root_no_other_folder_is_searched():
    resolver = PathResolver(("train/1.jpg", "test/1.jpg", "test/2.jpg"), "train")
    assert [resolver.resolve(name) for name in ("1.jpg", "/c/1.jpg", "2.jpg", "test/2.jpg", "../test/1.jpg")] == [
        "train/1.jpg", "train/1.jpg", None, "test/2.jpg", "test/1.jpg",
    ]  # fmt: skip


def test_two_paths_do_not_become_one_file():
    resolver = PathResolver(("1.jpg", "2.jpg"))
    assert resolver.resolve("/a/cat/1.jpg") == "1.jpg"
    assert resolver.resolve("/a/dog/1.jpg") is None and resolver.reason("/a/dog/1.jpg") == "ambiguous_path"


def test_letters_of_another_case_count_where_the_names_differ_in_nothing_else():
    resolver = PathResolver(("a.jpg", "A.jpg", "B.jpg", "b.JPG"))
    assert [resolver.resolve(name) for name in ("/x/a.jpg", "/x/A.jpg", "b.jpg")] == ["a.jpg", "A.jpg", None]


PARTS = st.lists(st.sampled_from(["a", "b", "A", "..", "c.jpg", "d.jpg", "C:", ""]), min_size=1, max_size=5)


@given(st.lists(PARTS, max_size=6), PARTS, st.sampled_from(["", "a", "a/b"]))
def test_what_is_found_is_a_file_and_ends_like_the_path(files, written, root):
    files = {"/".join(part for part in parts if part not in ("", "..")) for parts in files} - {""}
    path = PathResolver(files, root).resolve("/".join(written))
    assert path is None or path in files
    if path is not None and written[-1].endswith(".jpg"):
        assert path.rpartition("/")[2] == written[-1]
