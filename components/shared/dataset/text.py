"""Text files that people write: their encoding, and the names in them."""

import json
import math
import posixpath
import unicodedata
from collections.abc import Collection
from typing import Any

from components.shared.dataset.encodings import decode
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.image.photo_types import BY_SUFFIX
from serving.runtime.storage import Location


def composed(name: str) -> str:
    """Return a name with its letters composed (NFC): decomposed Korean looks the same and is not equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def printable(name: str) -> str:
    """Return the name as text that UTF-8 can hold."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def some(names: Collection[str], shown: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    first = ", ".join(list(names)[:shown])
    return first if len(names) <= shown else f"{first} and {len(names) - shown} more"


def is_hidden(path: str) -> bool:
    """Tell whether any part of the path is a dot-file, a macOS twin or an archiver's side folder."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def is_image_name(path: str) -> bool:
    """Tell whether the name ends like that of a photo, of a type that is read or not, in any case."""
    return posixpath.splitext(path)[1].lower() in BY_SUFFIX


def read_text(uri: str) -> str:
    """Read a text file from a path or `s3://` address; see `encodings.decode`.

    Raises:
        NotFoundError: there is no such file.
        InputError: its encoding cannot be told.
        StorageError: it cannot be reached.
    """
    location = Location(uri)
    if not location.exists():
        raise NotFoundError(f"{uri}: there is no such file")
    return decode(location.read(), uri).text


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the object of a JSON document, as `object_pairs_hook`: of two values of one key, neither is the right one.

    Raises ValueError, naming both, when a key occurs twice with different values.
    """
    document = dict(pairs)
    if len(document) < len(pairs):
        for key, value in pairs:
            if value != document[key]:
                raise ValueError(f"the key '{key}' occurs twice in one object, with {value!r} and {document[key]!r}")
    return document


def finite_json(text: str) -> Any:
    """Parse JSON of other tools: NaN, infinity and numbers beyond all floats become None.

    Raises ValueError when it is not JSON or a key has two values, RecursionError when it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=unique_keys, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def read_json(uri: str) -> Any:
    """Read a JSON file. Raises InputError when it is not JSON or has a key twice, and as `read_text` does."""
    text = read_text(uri)
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{uri}: not JSON: {error}") from error


def listed_names(text: str) -> list[str]:
    """Return the names of a list, one per line, without repetition and in composed letters; blank lines are left out.

    Lists of folders may have a slash after each name.
    """
    names = (composed(line.strip().rstrip("/")) for line in text.splitlines())
    return [name for name in dict.fromkeys(names) if name]


def read_names(uri: str) -> list[str]:
    """Read names from a JSON list, or from a text file with one name per line, in composed letters.

    Raises InputError when a JSON document is not a list of names, and as `read_text` does.
    """
    if not uri.lower().endswith(".json"):
        return listed_names(read_text(uri))
    names = read_json(uri)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{uri}: expected a JSON list of names")
    return list(dict.fromkeys(composed(name) for name in names if name))
