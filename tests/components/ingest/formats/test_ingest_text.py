"""Texts of a source: the same words whatever the encoding."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.runtime.errors import InputError

HANGUL = st.text(alphabet=[chr(code) for code in range(0xAC00, 0xD7A4)], max_size=8)
WORDS = st.lists(st.one_of(HANGUL, st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=8)), max_size=6)
FUNCTION_FIXTURE = [HealthCheck.function_scoped_fixture]


@settings(max_examples=200, deadline=None, suppress_health_check=FUNCTION_FIXTURE)
@given(words=WORDS, escaped=st.booleans())
def test_a_label_file_says_the_same_in_every_encoding(listing, words, escaped):
    """A label file has the names of emotions in it, and these are Korean."""
    text = json.dumps(["기쁨", *words], ensure_ascii=escaped)
    for encoding in ("utf-8", "utf-8-sig", "cp949"):
        source = listing({"a.json": text.encode(encoding)})
        assert json.loads(source.read_text("a.json")) == ["기쁨", *words]


@settings(max_examples=100, deadline=None, suppress_health_check=FUNCTION_FIXTURE)
@given(words=WORDS.filter(bool))
def test_a_table_says_the_same_in_every_encoding(listing, words):
    cells = [word.strip().replace(chr(34), "") for word in words]
    lines = "\r\n".join(["이름,label", *(f"{row},{chr(34)}{cell}{chr(34)}" for row, cell in enumerate(cells))])
    for encoding in ("utf-8", "utf-8-sig", "cp949"):
        table = listing({"a.csv": lines.encode(encoding)}).read_table("a.csv", ("이름", "label"))
        assert [row.cells["label"] for row in table.rows] == [cell.strip() for cell in cells]
        assert not table.complaints


@settings(max_examples=200, deadline=None, suppress_health_check=FUNCTION_FIXTURE)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_text_or_one_error(listing, data):
    try:
        listing({"a.txt": data}).read_text("a.txt").encode()
    except InputError as error:
        assert str(error).startswith("/data/faces/a.txt: ") and "UTF-8" in str(error)


def test_what_is_no_text_is_refused(listing):
    with pytest.raises(InputError, match=r"/data/faces/a\.txt: not a text in UTF-8 or CP949, GB18030, .* or CP1251; "):
        listing({"a.txt": b"\x89PNG\r\n\x1a\n\0\0\xff"}).read_text("a.txt")
