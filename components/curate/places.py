"""Reading what a person hands to an operation: lists, tables and trees, local or in S3."""

import json
from typing import Any

from components.shared.dataset.text import composed, decode_text, listed_names
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import Location


def printable(name: str) -> str:
    """Return the name as text that UTF-8 can hold."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def read_text(place: str) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, or in CP949.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is in neither encoding.
        StorageError: it cannot be reached.
    """
    location = Location(place)
    if not location.exists():
        raise NotFoundError(f"{place}: there is no such file")
    return decode_text(location.read(), place)


def read_json(place: str) -> Any:
    """Read a JSON file. Raises InputError when it is not JSON, and as `read_text` does."""
    try:
        return json.loads(read_text(place))
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{place}: not JSON: {error}") from error


def read_names(place: str) -> list[str]:
    """Read names from a JSON list, or from a text file with one name per line, in composed form.

    Blank lines are nothing. Raises InputError when a JSON document is no list of names, and as `read_text` does.
    """
    if not place.lower().endswith(".json"):
        return listed_names(read_text(place))
    names = read_json(place)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{place}: expected a JSON list of names")
    return list(dict.fromkeys(composed(name) for name in names if name))
