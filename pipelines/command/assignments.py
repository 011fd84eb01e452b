"""`key=value` on a command line: dotted keys reach into mappings, values are written as in YAML."""

from collections.abc import MutableMapping
from typing import Any

import yaml

from serving.runtime.errors import InputError


def assign(values: MutableMapping[str, Any], text: str, option: str) -> tuple[str, ...]:
    """Puts what `text` says into `values` and returns the path of the key.

    Raises:
        InputError: when the text is no assignment, or reaches into something that is no mapping; names the option.
    """
    key, equals, written = text.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        raise InputError(f"{option} {text}: expected key=value, such as epochs=5 or augment.flip=0")
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise InputError(f"{option} {text}: the value is not YAML: {' '.join(str(error).split())}") from error
    for name in path[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, MutableMapping):
            raise InputError(f"{option} {text}: '{name}' is {values!r}, which has no keys")
    values[path[-1]] = value if written.strip() else ""
    return path
