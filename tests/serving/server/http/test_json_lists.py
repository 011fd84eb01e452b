"""Lists in JSON are counted as a parser of JSON counts them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.runtime.errors import InputError
from serving.server.http import json_lists
from serving.server.http.json_lists import check_elements, read_list, read_object

VALUES = st.recursive(
    st.none() | st.integers() | st.text('a,"\\[]{}\n한', max_size=6),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(',"]\\', max_size=3), inner, max_size=4),
    max_leaves=30,
)


@settings(deadline=None, max_examples=50)
@given(st.lists(VALUES, max_size=12), st.integers(1, 12), st.sampled_from([None, 1]), st.booleans())
def test_a_list_with_more_elements_is_refused(value: list[object], most: int, indent: int | None, ascii_: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "_PIECE", 7)
        patch.setattr(json_lists, "_QUOTES", 10**6)
        if len(value) > most:
            with pytest.raises(InputError, match=f"images: too many elements; at most {most}"):
                check_elements(text, "images", most)
        else:
            assert [json.loads(bytes(one)) for one in read_list(text, "images", most)] == value


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=8))
def test_so_is_an_object(value: dict[str, object]) -> None:
    text = json.dumps(value).encode()
    assert {name: json.loads(bytes(one)) for name, one in read_object(text, "x", 8).items()} == value
    if len(value) > 1:
        with pytest.raises(InputError, match="too many"):
            read_object(text, "x", len(value) - 1)


def test_many_texts_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(InputError, match="too many texts"):
        read_list(b'["",' + b'"",' * 100 + b'""]', "images", 2)


@pytest.mark.parametrize("text", [b"[1,,2]", b"[1,2", b"{}", b"]", b"", b'["', b'"[,,]"'])
def test_what_is_no_list_is_an_error_of_the_request(text: bytes) -> None:
    with pytest.raises(InputError, match="^images: "):
        read_list(text, "images", 1)
