"""Text in the encodings that Korean tools write."""

import unicodedata

import pytest

from components.shared.dataset.encodings import decode
from components.shared.dataset.text import composed, listed_names
from serving.runtime.errors import InputError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_the_words_are_the_same_in_every_encoding(encoding):
    assert decode("기쁨 abc\n".encode(encoding), "a.txt").text == "기쁨 abc\n"


def test_anything_else_is_refused_by_name():
    with pytest.raises(InputError, match=r"a\.txt: not a text in UTF-8 or CP949, .*; save it as UTF-8"):
        decode(b"\xff\xfe\x00", "a.txt")


def test_decomposed_letters_are_composed():
    assert composed("\u1100\u1175") == "\uae30"
    assert composed("plain") == "plain"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" \r\n\n", []),
        ("b\r\na\r\nb\r\n", ["b", "a"]),
        ("  000001_female_Asian_20/\n", ["000001_female_Asian_20"]),
        (unicodedata.normalize("NFD", "김철수\n"), ["김철수"]),
        ("/", []),
    ],
)
def test_the_names_of_a_list(text, names):
    assert listed_names(text) == names
