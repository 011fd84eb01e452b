"""Options that a person writes as a mapping, checked against a pydantic model."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from serving.runtime.errors import InputError
from serving.runtime.validation import problems_of

ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_options(model: type[ModelT], values: Mapping[str, Any], subject: str) -> ModelT:
    """Validate options.

    Args:
        model: the model of the options.
        values: what was written.
        subject: what the options are, for the message: `options of split`.

    Raises:
        InputError: names every wrong entry with its value, and the known names where one is unknown or missing.
    """
    if not isinstance(values, Mapping):
        fields = ", ".join(model.model_fields)
        raise InputError(f"{subject}: expected a mapping, got {values!r}; known: {fields}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(map(str, problems_of(model, dict(values))))
        raise InputError(f"{subject}: {problems}") from error


def name_alone(value: Any) -> Any:
    """Turn a plain name into the mapping that it is short for."""
    return {"name": value} if isinstance(value, str) else value


def whole_numbers(value: Any) -> Any:
    """Turn floats without a fraction into integers, at any depth: KFP passes every number as a float."""
    if isinstance(value, Mapping):
        return {name: whole_numbers(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
