"""Changes of a training's configuration by dotted path, as a search makes them. Imports no torch."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from serving.runtime.errors import InputError


def lay_over(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with every entry that `changes` names by its path set to the value there.

        {"optimizer": "SGD"} and {"optimizer.arguments.momentum": 0.9, "epochs": 3}
        give {"optimizer": {"name": "SGD", "arguments": {"momentum": 0.9}}, "epochs": 3}

    An entry that is a name counts as the mapping `{name: ...}` that it is short for. `options` stay as they are.

    Raises:
        InputError: a path leads through a value that has no entries.
    """
    result = deepcopy(dict(options))
    for path, value in changes.items():
        *outer, name = path.split(".")
        place = result
        for part in outer:
            inner = place.get(part) or {}
            inner = {"name": inner} if isinstance(inner, str) else inner
            if not isinstance(inner, dict):
                raise InputError(f"'{path}': '{part}' is {inner!r}, which has no entries")
            place[part] = inner
            place = inner
        place[name] = deepcopy(value)
    return result
