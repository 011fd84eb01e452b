import json

import pytest

from components.shared.dotted import override
from serving.runtime.errors import InputError

MOMENTUM = {"momentum": 0.9}


@pytest.mark.parametrize(
    ("options", "changes", "expected"),
    [
        ({}, {"a.b": 1}, {"a": {"b": 1}}),
        ({}, {"epochs": 3.0}, {"epochs": 3.0}),
        ({"a": "x"}, {"a.b": 1, "c": 2}, {"a": {"name": "x", "b": 1}, "c": 2}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a.b.c": 3}, {"a": {"b": {"c": 3, "d": 2}}}),
        ({}, {"objective.heads.gender.weight": 2}, {"objective": {"heads": {"gender": {"weight": 2}}}}),
        ({"a": "SGD"}, {"a.arguments": MOMENTUM}, {"a": {"name": "SGD", "arguments": MOMENTUM}}),
        ({"a": {"name": "SGD", "sam": {"rho": 1}}}, {"a": {"name": "Adam"}}, {"a": {"name": "Adam"}}),
        ({"a": None}, {"a.patience": 2}, {"a": {"patience": 2}}),
        ({"a": "SGD"}, {"a.name": "Adam", "a.decay_all": True}, {"a": {"name": "Adam", "decay_all": True}}),
    ],
)
def test_entries_are_set_by_path_and_the_options_stay(options, changes, expected):
    before = json.dumps([options, changes])
    assert override(options, changes) == expected
    assert json.dumps([options, changes]) == before


def test_a_path_through_a_number_is_an_error():
    with pytest.raises(InputError, match=r"'epochs\.more': 'epochs' is 3, which has no entries"):
        override({"epochs": 3}, {"epochs.more": 1})
