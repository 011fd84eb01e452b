"""The syntax of search spaces, and the messages about invalid ones."""

import math
from typing import Any

import pytest

from components.search.space import combinations, planned, read_space, size
from serving.runtime.errors import InputError

WHOLE: dict[str, Any] = {
    "optimizer": ["Adam", {"name": "SGD", "arguments": {"momentum": 0.9}}],
    "accumulate": {"int": [1, 4]},
    "batch_size": {"choice": [16, 32]},
}


@pytest.mark.parametrize(
    ("value", "values", "ends"),
    [
        ([16.0, 32, 0.5], (16, 32, 0.5), None),
        (["Adam", {"gamma": 2.0}, True, None], ("Adam", {"gamma": 2}, True, None), None),
        ({"choice": ["a"]}, ("a",), None),
        ({"int": [1.0, 3.0]}, range(1, 4), (1, 3)),
        ({"uniform": [-1, 0.5]}, None, (-1, 0.5)),
        ({"loguniform": [1e-5, 1]}, None, (1e-5, 1)),
    ],
)
def test_a_dimension_is_read_as_kfp_passes_it(value: Any, values: Any, ends: Any) -> None:
    """All numbers arrive as floats; those without a fraction become integers again."""
    dimension = read_space({"key": value})["key"]
    assert repr(dimension.values) == repr(values)
    if ends:
        assert dimension.ends == dimension.examples == ends
    else:
        assert dimension.examples == values


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space = {}: name what is searched"),
        ({"a": 3}, "space.a: choice = 3: Input should be a valid tuple"),
        ({"a": []}, "space.a: choice = []: Tuple should have at least 1 item"),
        ({"a": {"range": [1, 2]}}, "space.a: range = [1, 2]: unknown key; known: choice, int, loguniform, uniform"),
        ({"a": {}}, "space.a: expected exactly one of choice, uniform, loguniform and int"),
        ({"a": {"int": [1, 2], "choice": [1]}}, "space.a: expected exactly one of choice"),
        ({"a": {"uniform": [2, 1]}}, "space.a: the lower end of a range must be below the upper one, got 2.0 and 1.0"),
        ({"a": {"uniform": [1, 1]}}, "space.a: the lower end of a range must be below"),
        ({"a": {"uniform": [0, math.inf]}}, "space.a: uniform.1 = inf: Input should be a finite number"),
        ({"a": {"uniform": [1, 2, 3]}}, "space.a: uniform = [1, 2, 3]: Tuple should have at most 2 items"),
        ({"a": {"loguniform": [0, 1]}}, "space.a: loguniform.0 = 0: Input should be greater than 0"),
        ({"a": {"int": [1, 2.5]}}, "space.a: int.1 = 2.5: Input should be a valid integer"),
        ({"a": [1, 1.0]}, "space.a: a value is listed twice"),
        ({"a": [{"x": 1, "y": 2}, {"y": 2.0, "x": 1}]}, "space.a: a value is listed twice"),
        ({"a.b": [1, 2], "a": [{}]}, "space.a.b = [1, 2]: is within a, which is searched itself"),
        ({"a": [1], "a.b.c": [2]}, "space.a.b.c = [2]: is within a, "),
    ],
)
def test_an_invalid_space_is_reported(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_space(space)
    assert str(caught.value).startswith(message)


def test_the_order_of_the_keys_has_no_effect() -> None:
    turned = dict(reversed(WHOLE.items()))
    assert list(read_space(WHOLE)) == list(read_space(turned)) == ["accumulate", "batch_size", "optimizer"]
    assert list(combinations(read_space(WHOLE))) == list(combinations(read_space(turned)))


def test_combinations_are_counted_and_listed() -> None:
    space = read_space(WHOLE)
    listed = list(combinations(space))
    assert size(space) == len(listed) == len({str(one) for one in listed}) == 16
    assert listed[0] == {"accumulate": 1, "batch_size": 16, "optimizer": "Adam"}
    assert all(one.keys() == space.keys() for one in listed)
    assert size(read_space({**WHOLE, "x": {"uniform": [0, 1]}})) == math.inf


def test_a_wide_range_costs_nothing() -> None:
    space = read_space({"a": {"int": [0, 2**31]}, "b": {"int": [1, 2**31]}})
    assert size(space) == (2**31 + 1) * 2**31
    assert next(iter(combinations(space))) == {"a": 0, "b": 1}


def test_no_more_trials_are_planned_than_there_are_combinations() -> None:
    space, endless = read_space(WHOLE), read_space({"x": {"loguniform": [1, 2]}})
    assert planned(space, "grid", 100) == planned(space, "tpe", 100) == 16
    assert planned(space, "random", 5) == planned(endless, "random", 5) == 5
    with pytest.raises(InputError, match="the grid has 16 combinations and trials is 15: raise trials, narrow"):
        planned(space, "grid", 15)
    with pytest.raises(InputError, match=r"space\.x: a grid needs a choice or an int range"):
        planned(endless, "grid", 15)
