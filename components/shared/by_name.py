"""Objects that a configuration names, by table or import path, and checks of their arguments. Imports no torch."""

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from serving.runtime.errors import InputError
from serving.runtime.validation import known as known_names


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

    A text is not accepted for an argument that is true or false by default, since 'False' would count as true.
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
    takes = f"it takes: {', '.join(named) or 'none'}"
    for name, value in arguments.items():
        if name in reserved or (name not in named and not open_ended):
            raise InputError(f"{what} has no argument '{name}'; {takes}")
        if name in named and isinstance(named[name].default, bool) and isinstance(value, str):
            raise InputError(f"{what}: {name} must be true or false, got the text '{value}'; write it without quotes")
    missing = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    missing = [name for name in missing if name not in arguments]
    if missing:
        raise InputError(f"{what} needs the argument {', '.join(map(repr, missing))}; {takes}")
