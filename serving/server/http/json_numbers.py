"""Whole numbers from 0 to 255 in nested JSON lists, read in bounded memory."""

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from serving.runtime.errors import InputError

BLANKS = b" \t\r\n"

# Bytes of memory per byte of JSON that numbers are read from: copies of the text, and a list of 8 bytes a number.
_MEMORY_PER_BYTE = 8
_NUMBERS = msgspec.json.Decoder(list[Annotated[int, Meta(ge=0, le=255)]])


def read_numbers(text: bytes, shape: Sequence[int], where: str, max_memory: int | None) -> NDArray[np.uint8]:
    """Return the numbers of a JSON list, flat or nested, in a shape; what it can hold is checked before it is read.

    Raises:
        InputError: they are no such numbers, do not fill the shape, or would take more than `max_memory` bytes.
    """
    structure = _structure_of(text, where, max_memory)
    elements = math.prod(shape)
    # Every element but the last has a comma.
    if not (0 <= elements <= len(text) and structure in (_structure([elements]), _structure(shape))):
        raise InputError(f"{where}: the data, {len(text)} bytes of JSON, does not fill {list(shape)}")
    return _read(text, where).reshape(shape)


def read_pixels(text: bytes, where: str, max_memory: int | None) -> NDArray[np.uint8]:
    """Return the pixels of a picture, uint8 (height, width, 3), from JSON lists nested so.

    Raises:
        InputError: as for `read_numbers`, or the lists are not nested so.
    """
    structure = _structure_of(text, where, max_memory)
    row, _, _ = structure.partition(b"]]")
    width = row.count(b"]") + 1
    height = structure.count(b"]]")
    # At least two commas and two brackets a pixel: what is compared with is no longer than the text.
    if not 0 < 4 * width * height <= len(structure) or structure != _structure((height, width, 3)):
        raise InputError(f"{where}: expected rows of pixels of three numbers, [[[r, g, b], ...], ...]")
    return _read(text, where).reshape(height, width, 3)


def _structure_of(text: bytes, where: str, max_memory: int | None) -> bytes:
    """Return the brackets and commas of a JSON text that has nothing else but digits and white space."""
    if max_memory is not None and len(text) * _MEMORY_PER_BYTE > max_memory:
        most = max_memory // _MEMORY_PER_BYTE
        raise InputError(f"{where}: {len(text)} bytes of numbers are too many; at most {most}; send image files")
    structure = text.translate(None, b"0123456789" + BLANKS)
    if structure.strip(b"[],"):
        raise InputError(_expected(where))
    return structure


def _structure(shape: Sequence[int]) -> bytes:
    """Return the brackets and commas of nested JSON lists of a shape, the last axis numbers."""
    text = b""
    for length in reversed(shape):
        text = b"[" + ((text + b",") * length)[:-1] + b"]"
    return text


def _read(text: bytes, where: str) -> NDArray[np.uint8]:
    try:
        values = _NUMBERS.decode(b"[" + text.translate(None, b"[]") + b"]")
    except msgspec.DecodeError as error:
        raise InputError(f"{_expected(where)}: {error}") from None
    return np.frombuffer(bytes(values), np.uint8)


def _expected(where: str) -> str:
    return f"{where}: UINT8 data must be whole numbers from 0 to 255"
