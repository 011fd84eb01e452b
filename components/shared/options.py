"""Options that a person writes: JSON and YAML, checked against a model, overridden by dotted path; what they name.

Imports no torch.
"""

import importlib
import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from serving.runtime.errors import InputError
from serving.runtime.validation import known as known_names
from serving.runtime.validation import problems_of, shortened

ModelT = TypeVar("ModelT", bound=BaseModel)

_DEEPEST = 64
_MOST_VALUES = 1_000_000
_LARGEST = 2**63


def parse_json(text: str, subject: str) -> Any:
    """Read JSON as plain values. Raises InputError, naming the subject, for anything else, and as `check_values`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{subject}: is not JSON: {_reason(error)}") from error
    check_values(value, subject)
    return value


def parse_yaml(text: str, subject: str) -> Any:
    """Read YAML as plain values. Raises InputError, naming the subject, for anything else, and as `check_values`."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{subject}: is not YAML: {_reason(error)}") from error
    check_values(value, subject)
    return value


def read_yaml(file: Path, subject: str) -> Any:
    """Read a YAML file in UTF-8. Raises InputError as `parse_yaml`, and when it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{subject} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{subject}: is not YAML: {error}") from error
    return parse_yaml(text, subject)


def check_values(value: Any, subject: str) -> None:
    """Raise InputError on numbers that JSON does not have, very deep nesting, and aliases that refer to themselves.

    Integers have at most 64 bits; infinity and NaN are refused. The aliases of YAML can write billions of values, or
    one within itself, in a few lines: each use counts.
    """
    waiting, count = [(value, "", 0)], 0
    while waiting:
        entry, path, depth = waiting.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_VALUES:
            limit = f"more than {_DEEPEST} levels deep" if depth > _DEEPEST else f"more than {_MOST_VALUES:,} values"
            raise InputError(f"{subject}: {limit}; write it with fewer")
        if isinstance(entry, Mapping):
            waiting += [(item, f"{path}.{shortened(str(name))}", depth + 1) for name, item in entry.items()]
        elif isinstance(entry, list):
            waiting += [(item, f"{path}.{number}", depth + 1) for number, item in enumerate(entry)]
        elif isinstance(entry, float) and not math.isfinite(entry):
            raise InputError(f"{subject}: {path.strip('.') or 'the value'} is {entry}; expected a finite number")
        elif isinstance(entry, int) and abs(entry) >= _LARGEST:
            raise InputError(
                f"{subject}: {path.strip('.') or 'the value'} is a number beyond 64 bits; write a smaller one"
            )


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "integer string conversion" in str(error):
        return "a number has thousands of digits"
    return shortened(" ".join(str(error).split()))


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


def set_entry(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the entry at a dotted path; mappings on the way are made.

    A name on the way counts as the mapping `{name: ...}` that it is short for. Raises InputError when the path leads
    through a value that has no entries.
    """
    *outer, last = path.split(".")
    for part in outer:
        inner = values.get(part) or {}
        inner = {"name": inner} if isinstance(inner, str) else inner
        if not isinstance(inner, dict):
            raise InputError(f"'{path}': '{part}' is {inner!r}, which has no entries")
        values[part] = inner
        values = inner
    values[last] = value


def override(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `options` with every entry that `changes` names by its path set to the value there.

        {"optimizer": "SGD"} and {"optimizer.arguments.momentum": 0.9, "epochs": 3}
        give {"optimizer": {"name": "SGD", "arguments": {"momentum": 0.9}}, "epochs": 3}

    Raises InputError as `set_entry`.
    """
    result = deepcopy(dict(options))
    for path, value in changes.items():
        set_entry(result, path, deepcopy(value))
    return result


def by_name(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    """Return the entry of `known` with that name, or the object at an import path `package.module:object`.

    An entry that is a text is an import path itself: such a table lists names without importing what they name.
    Raises InputError with the nearest and all known names, or with the reason why the import failed.
    """
    if name not in known and ":" not in name:
        raise InputError(unknown_name(kind, name, known))
    entry = known.get(name, name)
    return imported(kind, entry) if isinstance(entry, str) else entry


def unknown_name(kind: str, name: str, known: Collection[str], *, importable: bool = True) -> str:
    """Return the message about a name that is not in `known`."""
    other = ", or your own as 'package.module:name'" if importable else ""
    return f"unknown {kind} '{name}'{known_names(name, known)}{other}"


def imported(kind: str, path: str) -> Any:
    """Return the object at an import path `package.module:object`; InputError says why it cannot be imported."""
    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{kind} '{path}' cannot be imported: {error}") from error
    return found


def check_arguments(
    what: str, function: Callable[..., Any], arguments: Mapping[str, Any], *, reserved: Collection[str] = ()
) -> None:
    """Raise InputError when `function` has no such argument or needs one more; the message lists what it takes.

    A text is not accepted for an argument that is true or false by default, since 'False' would count as true. A value
    must be of the argument's type where that is a plain one, and within the limits of an `Annotated` type.
    `reserved` are the arguments that the caller passes itself; a configuration cannot set them.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} cannot be called with arguments: {error}") from error
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and parameter.name not in reserved
    }
    hints = _hints(function)
    takes = f"it takes: {', '.join(named) or 'none'}"
    for name, value in arguments.items():
        if name in reserved or (name not in named and not open_ended):
            raise InputError(f"{what} has no argument '{name}'; {takes}")
        if name in named and isinstance(named[name].default, bool) and isinstance(value, str):
            raise InputError(f"{what}: {name} must be true or false, got the text '{value}'; write it without quotes")
        _check_type(what, name, value, hints.get(name))
    missing = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    missing = [name for name in missing if name not in arguments]
    if missing:
        raise InputError(f"{what} needs the argument {', '.join(map(repr, missing))}; {takes}")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of the arguments; none where they cannot be read, as some are imported for a type checker alone."""
    owner: Any = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    try:
        return get_type_hints(owner, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _check_type(what: str, name: str, value: Any, hint: Any) -> None:
    if hint not in (bool, int, float, str) and get_origin(hint) is not Annotated:
        return
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{what}: {name} = {value!r}: {error.errors()[0]['msg']}") from error
