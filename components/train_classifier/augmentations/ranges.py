"""Types of the transforms' arguments: the ranges that they draw from, validated when an augmentation is built."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field

Pixels = NDArray[np.uint8]
Level = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Level, Level, Level]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _around_zero(value: Any) -> Any:
    return (-value, value) if _is_number(value) else value


def _repeated(value: Any) -> Any:
    return (value, value) if _is_number(value) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError("must be a range [low, high] with low <= high")
    return value


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] > 0:
        raise ValueError("must be above 0")
    return value


def _zoom(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] >= -0.9:
        raise ValueError("must be at least -0.9, a tenth of the size")
    return value


def _shares(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1] <= 1:
        raise ValueError("must be between 0 and 1")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Pair = Annotated[tuple[_Finite, _Finite], AfterValidator(_ordered)]

Span = Annotated[_Pair, BeforeValidator(_around_zero)]
"""A range around zero; a number n is short for [-n, n]."""

Zoom = Annotated[_Pair, AfterValidator(_zoom), BeforeValidator(_around_zero)]
"""A range of changes of size, 0 is none; a number n is short for [-n, n]."""

Positive = Annotated[_Pair, AfterValidator(_positive), BeforeValidator(_repeated)]
"""A range of numbers above zero; a number n is short for [n, n]."""

Shares = Annotated[_Pair, AfterValidator(_shares), BeforeValidator(_repeated)]
"""A range within 0 and 1; a number n is short for [n, n]."""

Kernel = Annotated[int, Field(ge=3, le=31), AfterValidator(_odd)]
"""The side of a square filter in pixels."""
