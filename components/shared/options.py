"""Options that a person writes as a mapping, checked against a pydantic model."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from serving.runtime.errors import InputError

ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_options(kind: type[ModelT], values: Mapping[str, Any], subject: str) -> ModelT:
    """Validate options.

    Args:
        kind: the model that they must fit.
        values: what was written.
        subject: what they are, for the message: `options of split`.

    Raises:
        InputError: names every wrong entry with its value, and the known names where one is unknown or missing.
    """
    known = f"Known options: {', '.join(kind.model_fields)}"
    if not isinstance(values, Mapping):
        raise InputError(f"{subject}: expected a mapping, got {values!r}. {known}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = error.errors()
        wrong = "; ".join(_complaint(kind, problem) for problem in problems)
        misnamed = any(problem["type"] in ("extra_forbidden", "missing") for problem in problems)
        raise InputError(f"{subject}: {wrong}" + (f". {known}" if misnamed else "")) from error


def _complaint(kind: type[BaseModel], problem: Any) -> str:
    """Say what is wrong with one entry; `problem` is one of pydantic's error details."""
    *parents, name = problem["loc"] or (None,)
    message = str(problem["msg"]).removeprefix("Value error, ")
    if name is None:
        return message
    where = ".".join(map(str, (*parents, name)))
    if problem["type"] == "missing":
        return f"'{where}' is missing"
    if problem["type"] == "extra_forbidden":
        siblings = known_fields(kind, parents) if parents else []
        hint = f" (known there: {', '.join(siblings)})" if siblings else ""
        return f"'{where}' is unknown, got {problem['input']!r}{hint}"
    return f"'{where}' {message}, got {problem['input']!r}"


def known_fields(kind: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """Return the names that are known in the model at `path` within `kind`; none behind a list or a mapping."""
    model: Any = kind
    for part in path:
        field = model.model_fields.get(part)
        annotation = None if field is None else field.annotation
        models = [one for one in (annotation, *get_args(annotation)) if _is_model(one)]
        if len(models) != 1:
            return []
        (model,) = models
    return list(model.model_fields)


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


def whole_numbers(value: Any) -> Any:
    """Turn floats without a fraction into integers, at any depth: a pipeline hands every number over as a float."""
    if isinstance(value, Mapping):
        return {name: whole_numbers(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
