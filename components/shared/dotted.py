"""Entries of nested mappings by dotted path, such as `optimizer.arguments.momentum`."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from serving.runtime.errors import InputError


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
