from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from serving.runtime.validation import problems_of


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = Field(default=0.1, gt=0)
    kind: Literal["Adam", "SGD"] = "Adam"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner = Inner()
    many: list[Inner] = []
    name: str


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"name": "a"}, []),
        ({}, ["name: is missing; known: inner, many, name"]),
        ({"name": "a", "iner": 1}, ["iner = 1: unknown key, did you mean 'inner'?; known: inner, many, name"]),
        ({"name": "a", "inner": {"RATE": 1}}, ["inner.RATE = 1: unknown key, did you mean 'rate'?; known: kind, rate"]),
        ({"name": "a", "inner": {"rate": 0}}, ["inner.rate = 0: Input should be greater than 0"]),
        (
            {"name": "a", "inner": {"kind": "adam"}},
            ["inner.kind = 'adam': unknown name, did you mean 'Adam'?; known: A"],
        ),
        ({"name": "a", "many": [{}, {"x": 1}]}, ["many.1.x = 1: unknown key"]),
        (7, ["Input should be a valid dictionary or instance of Outer"]),
    ],
)
def test_every_problem_names_its_path_and_value(values, expected):
    found = [str(problem) for problem in problems_of(Outer, values)]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


def test_problems_are_below_a_path_and_hide_fields():
    (problem,) = problems_of(Outer, {"name": "a", "innr": 1}, path=("training",), hidden={"inner"})
    assert problem.path == ("training", "innr")
    assert problem.message == "unknown key; known: many, name"
