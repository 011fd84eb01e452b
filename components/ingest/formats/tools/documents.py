"""JSON and XML files of annotation tools, and the numbers in them."""

import codecs
import json
import math
import re
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from components.shared.dataset.annotations import Box
from components.shared.dataset.text import composed, finite_json
from serving.runtime.errors import InputError

_FAR = 1e9  # No picture has as many pixels on one side.
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding=["']([A-Za-z0-9._-]+)["']""")


def parse_json(text: str, name: str) -> Any:
    """Read JSON; NaN, infinity and numbers beyond all floats become None, and half characters question marks.

    Raises InputError naming the file when it is not JSON, or a key has two values.
    """
    try:
        document = finite_json(text)
        if "\\ud" not in text.lower():
            return document
        return json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not a JSON file: {error}") from error


def parse_xml(data: bytes, name: str, decode: Callable[[bytes], str]) -> Element:
    """Read XML in its declared encoding, or else as `decode` does; names of elements lose their namespace.

    Entities are refused: a few lines of them can expand to gigabytes, or name files of this machine.
    Raises InputError naming the file when it is not XML, or defines entities.
    """
    text = _declared_text(data) or decode(data)
    try:
        root: Element = fromstring(text)
    except DefusedXmlException as error:
        raise InputError(f"{name}: defines XML entities, which are not read; write it without a DOCTYPE") from error
    except (ParseError, ValueError) as error:
        raise InputError(f"{name}: not an XML file: {error}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _declared_text(data: bytes) -> str | None:
    declared = _DECLARED.match(data.removeprefix(codecs.BOM_UTF8)[:200])
    if declared is None:
        return None
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode(declared[1].decode())
    except (LookupError, UnicodeError):
        return None


def number(value: Any) -> float | None:
    """Return a number, also one that is written as a text; None for anything else and for what no picture can have."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if abs(result) < _FAR else None


def size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """Return (height, width) in pixels; None unless both are positive."""
    sides = number(height), number(width)
    return (int(sides[0]), int(sides[1])) if sides[0] and sides[1] and min(sides[0], sides[1]) >= 1 else None


def box_of_corners(left: Any, top: Any, right: Any, bottom: Any) -> Box | None:
    """Return (x, y, width, height) of two corners; None when one is no number, or the box is empty or inverted."""
    x, y, to_x, to_y = map(number, (left, top, right, bottom))
    if x is None or y is None or to_x is None or to_y is None:
        return None
    width, height = to_x - x, to_y - y
    return (x, y, width, height) if width > 0 and height > 0 and width * height > 0 else None


def bounds(points: Any) -> Box | None:
    """Return the box around (x, y) points; None when a point is none, or the box is empty."""
    if not isinstance(points, list) or not all(isinstance(point, list | tuple) and len(point) == 2 for point in points):
        return None
    columns, rows = [number(x) for x, _ in points], [number(y) for _, y in points]
    if not points or None in columns or None in rows:
        return None
    xs, ys = [x for x in columns if x is not None], [y for y in rows if y is not None]
    return box_of_corners(min(xs), min(ys), max(xs), max(ys))


def turned_bounds(box: Box, degrees: float, center: tuple[float, float]) -> Box:
    """Return the upright box around a box that is turned clockwise around a point."""
    x, y, width, height = box
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    corners = [(x + dx - center[0], y + dy - center[1]) for dx in (0.0, width) for dy in (0.0, height)]
    columns = [center[0] + dx * cosine - dy * sine for dx, dy in corners]
    rows = [center[1] + dx * sine + dy * cosine for dx, dy in corners]
    return min(columns), min(rows), max(columns) - min(columns), max(rows) - min(rows)


def clean(text: Any) -> str:
    """Return a name or a value of an attribute as one line of composed letters; empty for what is no text or number."""
    if isinstance(text, bool):
        return str(text).lower()
    return " ".join(composed(str(text)).split()) if isinstance(text, str | int | float) else ""
