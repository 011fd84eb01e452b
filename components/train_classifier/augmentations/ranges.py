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


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Above0 = Annotated[_Finite, Field(gt=0.0)]
_Share = Annotated[_Finite, Field(ge=0.0, le=1.0)]
_Resize = Annotated[_Finite, Field(ge=-0.9)]

Span = Annotated[tuple[_Finite, _Finite], AfterValidator(_ordered), BeforeValidator(_around_zero)]
"""A range around zero; a number n is short for [-n, n]."""

Zoom = Annotated[tuple[_Resize, _Resize], AfterValidator(_ordered), BeforeValidator(_around_zero)]
"""A range of changes of size, 0 is none and -0.9 leaves a tenth; a number n is short for [-n, n]."""

Positive = Annotated[tuple[_Above0, _Above0], AfterValidator(_ordered), BeforeValidator(_repeated)]
"""A range of numbers above zero; a number n is short for [n, n]."""

Shares = Annotated[tuple[_Share, _Share], AfterValidator(_ordered), BeforeValidator(_repeated)]
"""A range within 0 and 1; a number n is short for [n, n]."""

Kernel = Annotated[int, Field(ge=3, le=31), AfterValidator(_odd)]
"""The side of a square filter in pixels."""
