"""Values of COCO files as programs write them: ids, numbers, boxes and keypoints, also in another type than COCO's."""

import re
from typing import Any

from components.shared.dataset.annotations import Box, Keypoint

# No picture has as many pixels on one side.
_FAR = 1e9
_LARGEST = 1e300
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_NAMED_BOXES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)


def number(value: Any) -> float | None:
    """Return a number of no absurd size, also from its text; None for everything else, truth values too."""
    if type(value) in (int, float):
        return value if abs(value) < _LARGEST else None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return number(float(value))
    return None


def identity(value: Any) -> str | None:
    """Return an id as text, the same for 1, 1.0 and "1"; None when the value cannot be an id."""
    if type(value) is int:
        return str(value)
    read = number(value)
    if read is not None and read == int(read):
        text = str(value).strip()
        return str(int(text)) if text.isdigit() else str(int(read))
    return value.strip() or None if isinstance(value, str) else None


def side(value: Any) -> int | None:
    """Return a width or height in whole pixels, None when the value is none."""
    read = number(value)
    return int(read) if read is not None and 0 < read < _FAR and read == int(read) else None


def box(value: Any) -> tuple[Box | None, str]:
    """Return a box in pixels and how it is written, or None and why it is none.

    Written as COCO does, four numbers in a list, it is `""`. Four texts are `box_of_texts`, four named numbers
    `box_of_names`, from which corners can be told. Without a box it is `no_box` or `bad_box`.
    """
    if value is None or value in ([], {}, ""):
        return None, "no_box"
    written = ""
    if isinstance(value, str):
        value, written = re.split(r"[,;\s]+", value.strip("[](){} \t\n")), "box_of_texts"
    if isinstance(value, dict):
        keys = {str(key).lower(): entry for key, entry in value.items()}
        names = next((names for names in _NAMED_BOXES if keys.keys() >= set(names)), ())
        value, written = [keys[name] for name in names], "box_of_names"
        if names and names[2] not in ("width", "w"):
            left, top, right, bottom = map(number, value)
            if left is None or top is None or right is None or bottom is None:
                return None, "bad_box"
            value = [left, top, right - left, bottom - top]
    if not isinstance(value, list) or len(value) != 4:
        return None, "bad_box"
    x, y, width, height = map(number, value)
    if x is None or y is None or width is None or height is None:
        return None, "bad_box"
    if not (width > 0 and height > 0 and max(map(abs, (x, y, width, height))) < _FAR):
        return None, "bad_box"
    if not written and any(isinstance(entry, str) for entry in value):
        written = "box_of_texts"
    return (float(x), float(y), float(width), float(height)), written


def outline_box(value: Any) -> Box | None:
    """Return the box around the polygons of a segmentation, None when they are none."""
    polygons = value if isinstance(value, list) and value and all(isinstance(part, list) for part in value) else [value]
    numbers: list[float] = []
    for polygon in polygons:
        read = [number(entry) for entry in polygon] if isinstance(polygon, list) else []
        if len(read) < 6 or len(read) % 2 or None in read:
            return None
        numbers += [entry for entry in read if entry is not None]
    left, top, right, bottom = min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    found, _ = box([left, top, right - left, bottom - top])
    return found


def keypoints(value: Any) -> tuple[Keypoint, ...] | None:
    """Return keypoints in pixels, None when the value is no list of x, y and 0, 1 or 2."""
    numbers = [number(entry) for entry in value] if isinstance(value, list) else []
    read = [entry for entry in numbers if entry is not None and abs(entry) < _FAR]
    if not read or len(read) < len(numbers) or len(read) % 3 or not set(read[2::3]) <= {0, 1, 2}:
        return None
    return tuple(Keypoint(float(x), float(y), int(seen)) for x, y, seen in zip(*[iter(read)] * 3, strict=True))
