import pytest

from components.shared.dotted import override
from serving.runtime.errors import InputError


@pytest.mark.parametrize(
    ("options", "changes", "expected"),
    [
        ({}, {"a.b": 1}, {"a": {"b": 1}}),
        ({"a": "x"}, {"a.b": 1, "c": 2}, {"a": {"name": "x", "b": 1}, "c": 2}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a.b.c": 3}, {"a": {"b": {"c": 3, "d": 2}}}),
        ({"a": None}, {"a.b": 1}, {"a": {"b": 1}}),
    ],
)
def test_entries_are_set_by_path_and_the_options_stay(options, changes, expected):
    before = repr(options)
    assert override(options, changes) == expected
    assert repr(options) == before


def test_a_path_through_a_number_is_an_error():
    with pytest.raises(InputError, match=r"'a\.b': 'a' is 3"):
        override({"a": 3}, {"a.b": 1})
