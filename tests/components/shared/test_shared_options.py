"""Options are checked against a model, every wrong entry is named, and entries are set by dotted path."""

import json

import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from components.shared.options import override, parse_options
from serving.runtime.errors import InputError

MOMENTUM = {"momentum": 0.9}


class _Columns(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str = "path"
    size: tuple[int, int] = (1, 1)


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ratio: float
    seed: int = 0
    columns: _Columns = _Columns()
    more: list[_Columns] | None = None

    @model_validator(mode="after")
    def _small(self):
        if self.seed > 9:
            raise ValueError("the seed is too large")
        return self


def test_ints_that_arrive_as_floats_become_ints():
    assert parse_options(_Options, {"ratio": 1, "seed": 3.0}, "options of x").seed == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "options of x: ratio: is missing; known: ratio, seed, columns, more"),
        (
            {"ratoi": 1, "seed": 0.5},
            "options of x: ratio: is missing; known: ratio, seed, columns, more; "
            "seed = 0.5: Input should be a valid integer, got a number with a fractional part; "
            "ratoi = 1: unknown key, did you mean 'ratio'?; known: columns, more, ratio, seed",
        ),
        (
            {"ratio": 1, "columns": {"paht": "p"}},
            "options of x: columns.paht = 'p': unknown key, did you mean 'path'?; known: path, size",
        ),
        (
            {"ratio": 1, "columns": {"size": [1, None]}},
            "options of x: columns.size.1 = None: Input should be a valid integer",
        ),
        ({"ratio": 1, "more": [{"paht": 1}]}, "options of x: more.0.paht = 1: unknown key"),
        ({"ratio": 1, "seed": 10}, "options of x: the seed is too large"),
        ({1: 2, "ratio": 1}, "options of x: 1 = 1: Keys should be strings"),
        (0.5, "options of x: expected a mapping, got 0.5; known: ratio, seed, columns, more"),
        (None, "options of x: expected a mapping, got None; "),
    ],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(InputError) as caught:
        parse_options(_Options, values, "options of x")
    assert str(caught.value).startswith(message)


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
