"""The syntax of search spaces. Imports no Optuna, so that a config is checked quickly.

    batch_size: [16, 32, 64]
    optimizer: [Adam, {name: SGD, arguments: {momentum: 0.9}}]
    learning_rate: {loguniform: [0.0001, 0.01]}
    augmentation.arguments.erasing: {uniform: [0, 0.5]}
    accumulate: {int: [1, 4]}

A key is the dotted path of an entry of the training config. A list is short for `{choice: [...]}`. Ranges include their
ends.
"""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from components.shared.options import parse_options, whole_numbers
from components.shared.trial import Trial
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen, Problem

MAX_TRIALS = 100
"""Kubernetes passes the outcomes of all trials to a step as arguments, which may be 128 KiB long."""

Changes = dict[str, Any]
"""A value for every key of a space."""

Number = Annotated[float, Field(allow_inf_nan=False)]
WholeNumber = Annotated[int, Field(ge=-(2**31), le=2**31)]


class Dimension(Frozen):
    """The values of one entry: exactly one of these.

    Attributes:
        choice: a list of values of any kind.
        uniform: a range of numbers, uniformly distributed.
        loguniform: a range of positive numbers whose logarithm is uniformly distributed.
        int: a range of whole numbers.
    """

    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    uniform: tuple[Number, Number] | None = None
    loguniform: tuple[Annotated[Number, Field(gt=0)], Number] | None = None
    int: tuple[WholeNumber, WholeNumber] | None = None

    @model_validator(mode="before")
    @classmethod
    def _list_alone(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            value = {"choice": value}
        if not isinstance(value, Mapping):
            raise ValueError("expected a list of values, or one of {choice, uniform, loguniform, int: [...]}")
        return whole_numbers(value)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("expected exactly one of choice, uniform, loguniform and int")
        if self.choice is not None:
            if len({text(value) for value in self.choice}) < len(self.choice):
                raise ValueError("a value is listed twice")
        elif self.ends[0] >= self.ends[1]:
            raise ValueError(
                f"the lower end of a range must be below the upper one, got {self.ends[0]} and {self.ends[1]}"
            )
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value of a range."""
        ends = self.uniform or self.loguniform or self.int
        assert ends is not None
        return ends

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        if self.choice is not None:
            return text(value) in {text(one) for one in self.choice}
        if isinstance(value, bool) or not isinstance(value, float | int):
            return False
        return self.ends[0] <= value <= self.ends[1] and (self.int is None or float(value).is_integer())

    @property
    def values(self) -> Sequence[Any] | None:
        """All values in order; None for a range of real numbers."""
        if self.int is not None:
            return range(self.int[0], self.int[1] + 1)
        return self.choice

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values to validate in place of all: every choice, or the ends of the range."""
        return self.ends if self.choice is None else self.choice


Space = dict[str, Dimension]


def text(value: Any) -> str:
    """Write a value as JSON, equal values alike."""
    return json.dumps(whole_numbers(value), sort_keys=True, default=str)


def read_space(values: Mapping[str, Any]) -> Space:
    """Read a space, with its keys in alphabetical order: KFP passes them in any order.

    Raises:
        InputError: it is empty or invalid, or one key is within another.
    """
    if problems := [str(problem) for problem in key_problems(values)]:
        raise InputError("; ".join(problems))
    return {
        key: parse_options(Dimension, value if isinstance(value, Mapping) else {"choice": value}, f"space.{key}")
        for key, value in sorted(values.items())
    }


def key_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the keys of a space: there are none, or one is within another."""
    if not values:
        yield Problem(("space",), values, "name what is searched, such as `learning_rate: [0.001, 0.0001]`")
    for inner, outer in itertools.permutations(values, 2):
        if inner.startswith(f"{outer}."):
            yield Problem(("space", inner), values[inner], f"is within {outer}, which is searched itself")


def check_changes(space: Space, trials: Iterable[Trial]) -> None:
    """Raise InputError when a trial is of another space: it changes other entries, or to values that are not there."""
    for trial in trials:
        if trial.changes.keys() != space.keys():
            raise InputError(f"trial {trial.number} changes {sorted(trial.changes)}, the space has {sorted(space)}")
        for key, value in trial.changes.items():
            if not space[key].holds(value):
                raise InputError(f"trial {trial.number}: {key} = {value!r} is not in space.{key}")


def size(space: Space) -> float:
    """Return the number of combinations, infinity where there is a range of real numbers."""
    return math.prod(math.inf if dimension.values is None else len(dimension.values) for dimension in space.values())


def combinations(space: Space) -> Iterator[Changes]:
    """Yield all combinations of a space without ranges of real numbers, the last key changing fastest."""
    columns = {key: dimension.values or () for key, dimension in space.items()}
    for number in range(math.prod(len(values) for values in columns.values())):
        changes: Changes = {}
        for key in reversed(columns):
            number, index = divmod(number, len(columns[key]))
            changes[key] = columns[key][index]
        yield {key: changes[key] for key in columns}


def planned(space: Space, method: str, trials: int) -> int:
    """Return how many trials a search makes: `trials`, but no combination twice.

    Raises InputError when all combinations (`method` grid) cannot be tried.
    """
    if method == "grid":
        endless = [key for key, dimension in space.items() if dimension.values is None]
        if endless:
            raise InputError(f"space.{endless[0]}: a grid needs a choice or an int range, not a range of real numbers")
        if size(space) > trials:
            raise InputError(
                f"the grid has {size(space):.0f} combinations and trials is {trials}: raise trials, narrow the space, "
                "or take method random or tpe"
            )
    return int(min(trials, size(space)))
