"""Lists and objects in JSON whose elements are counted before they are made."""

import re
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw

from serving.runtime.errors import InputError

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# Quotation marks for each element: an object of a picture has fewer.
_QUOTES = 64
# By how much a character changes the depth, by its code.
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_PIECE = 2**18


def read_list(text: bytes | Raw, where: str, most: int) -> list[Raw]:
    """Return the elements of a JSON list, at most so many. Raises InputError, with `where` in front, for all else."""
    check_elements(bytes(text), where, most)
    elements: list[Raw] = decode(text, list[Raw], where)
    return elements


def read_object(text: bytes | Raw, where: str, most: int) -> dict[str, Raw]:
    """Return the fields of a JSON object, at most so many. Raises InputError, with `where` in front, for all else."""
    check_elements(bytes(text), where, most)
    fields: dict[str, Raw] = decode(text, dict[str, Raw], where)
    return fields


def check_elements(text: bytes, where: str, most: int) -> None:
    """Raise InputError when a JSON list or object has more elements.

    msgspec checks the length of a list when it has made all of it, a hundred bytes for two of the text.
    """
    if text.count(b",") < most:
        return
    if text.count(b'"') > _QUOTES * most:
        raise InputError(f"{where}: too many texts for {most} elements, which is as many as are read")
    bare, depth, commas = _STRING.sub(b"", text), 0, 0
    for start in range(0, len(bare), _PIECE):
        piece = np.frombuffer(bare, np.uint8, min(_PIECE, len(bare) - start), start)
        depths = depth + np.cumsum(_STEPS[piece], dtype=np.int32)
        commas += int(np.count_nonzero((piece == ord(",")) & (depths == 1)))
        depth = int(depths[-1])
        if commas >= most:
            raise InputError(f"{where}: too many elements; at most {most}")


def decode(text: bytes | Raw, kind: Any, where: str) -> Any:
    """Decode JSON as a type. Raises InputError, with the path of what is wrong."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{where}: {explain(error)}") from None


def explain(error: Exception) -> str:
    """Return msgspec's message with the path of a value as `inputs.0.shape`."""
    message, _, path = str(error).partition(" - at `")
    path = path.removesuffix("`").removeprefix("$").removeprefix(".").replace("[", ".").replace("]", "")
    return f"{path or 'body'}: {message}" if path or " - at `" in str(error) else message
