"""Rows of YOLO label files: a class, a box and what may follow it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from components.shared.dataset.annotations import Box, Keypoint

Kind = Literal["box", "extra", "polygon"]
# Boxes may reach beyond their image a little; larger numbers are pixels.
_MAX_SHARE = 2.0
# Of a pose data set without its shape: a class, a box and three points; so many rows are no chance.
_POSE_COLUMNS = 11
_POSE_ROWS = 3


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row: its class, its box (left, top, width, height) and keypoints as shares of the image, and a confidence.

    `kind` tells what the box was made from. Rows that differ only in keypoints or score are equal.
    """

    category: int
    box: Box
    kind: Kind
    keypoints: tuple[Keypoint, ...] | None = field(default=None, compare=False)
    score: float | None = field(default=None, compare=False)


def parse_row(text: str, keypoints: tuple[int, int] | None) -> LabelRow:
    """Read one row.

    `keypoints` is the `kpt_shape` of a pose data set, (points, numbers per point). With it a row has 5 columns, or 5
    and all the keypoints. Without it:

    - 5 columns are a box, and of 6 the last is a confidence.
    - More columns are a box with unused keypoints when everything after the box is zero, as files have that were
      written for a face detector with keypoints: no polygon has its corners there.
    - Any other row with an odd number of columns is a polygon, and the box is the one around its corners.

    Raises ValueError, saying why, on any other row.
    """
    category, *shares = (float(word) for word in text.split())
    for share in shares:
        if not abs(share) <= _MAX_SHARE:  # also true for NaN
            raise ValueError(f"{share:g} is no share from 0 to 1")
    if category < 0 or not category.is_integer():
        raise ValueError("the class is not an integer from 0 on")
    kind = _kind(shares, keypoints)
    if kind == "polygon":
        left, top, right, bottom = min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])
        box = (left, top, right - left, bottom - top)
    else:
        x, y, width, height = shares[:4]
        box = (x - width / 2, y - height / 2, width, height)
    if not (box[2] > 0 and box[3] > 0):
        raise ValueError("the box is empty")
    if len(shares) == 5 and not keypoints and not 0 <= shares[4] <= 1:
        raise ValueError("6 columns, and the last is no confidence from 0 to 1")
    points = _keypoints(shares[4:], keypoints[1]) if keypoints and len(shares) > 4 else None
    return LabelRow(int(category), box, kind, points, shares[4] if len(shares) == 5 and not keypoints else None)


def is_label_text(data: bytes) -> bool:
    """Tell whether the first line of a text, blank ones aside, is a row."""
    line = next((line for line in data.decode("utf-8-sig", errors="replace").splitlines() if line.strip()), "")
    try:
        parse_row(line, None)
    except ValueError:
        return False
    return True


def _kind(shares: Sequence[float], keypoints: tuple[int, int] | None) -> Kind:
    count = len(shares)
    if count == 4:
        return "box"
    if keypoints is not None:
        expected = 4 + keypoints[0] * keypoints[1]
        if count != expected:
            raise ValueError(f"{count + 1} columns, expected 5 or {expected + 1}")
        return "box"
    if count == 5:
        return "box"
    if count > 5 and not any(shares[4:]):
        return "extra"
    if count >= 6 and count % 2 == 0:
        return "polygon"
    raise ValueError(f"{count + 1} columns, expected 5")


def _keypoints(values: Sequence[float], numbers: int) -> tuple[Keypoint, ...]:
    """Return points of x, y and, where there are three numbers, visibility; negative coordinates are not labeled."""
    points = []
    for start in range(0, len(values), numbers):
        x, y, *rest = values[start : start + numbers]
        labeled = 2 if min(x, y) >= 0 else 0
        points.append(Keypoint(x, y, max(round(rest[0]), 0) if rest else labeled))
    return tuple(points)


def looks_like_pose(texts: Iterable[bytes]) -> bool:
    """Tell whether all rows of all label files look like those of a pose data set.

    They have equally many columns, at least those of three points, and the points lie in the box. Outlines are not so.
    """
    columns: Counter[int] = Counter()
    for text in texts:
        for line in text.decode("utf-8-sig", errors="replace").splitlines():
            words = line.split()
            if words:
                columns[len(words)] += 1
                if len(words) < _POSE_COLUMNS or len(columns) > 1 or not _points_in_box(words):
                    return False
    return columns.total() >= _POSE_ROWS


def _points_in_box(words: Sequence[str]) -> bool:
    try:
        x, y, width, height, *points = map(float, words[1:])
    except ValueError:
        return False
    if len(points) % 2 or not any(points):
        return False
    pairs = zip(points[::2], points[1::2], strict=True)
    return all(abs(left - x) <= width / 2 and abs(top - y) <= height / 2 for left, top in pairs)
