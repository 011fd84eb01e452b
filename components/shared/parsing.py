"""JSON and YAML that a person wrote, as plain values that KFP can pass on: of bounded depth, with numbers of JSON."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serving.runtime.errors import InputError
from serving.runtime.validation import shortened

_DEEPEST = 64
_MOST_VALUES = 1_000_000
_LARGEST = 2**63


def parse_json(text: str, subject: str) -> Any:
    """Read JSON. Raises InputError, naming the subject, for anything else, and as `check_values`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{subject}: is not JSON: {_reason(error)}") from error
    check_values(value, subject)
    return value


def parse_yaml(text: str, subject: str) -> Any:
    """Read YAML. Raises InputError, naming the subject, for anything else, and as `check_values`."""
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
