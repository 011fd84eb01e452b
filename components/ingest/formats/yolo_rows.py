"""The rows of YOLO label files: `class x_center y_center width height`, in shares of the image's width and height."""

from dataclasses import dataclass
from typing import Literal

from components.shared.dataset.annotations import Box

Kind = Literal["box", "extra", "polygon"]
# Boxes may stick out of their image a little; larger numbers are pixels.
_FARTHEST = 2.0


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row: its class, its box as shares (left, top, width, height), and what it was made from."""

    category: int
    box: Box
    kind: Kind


def parse_row(text: str, keypoints: tuple[int, int] | None) -> LabelRow:
    """Read one row.

    `keypoints` is the `kpt_shape` of a pose data set, (points, numbers per point). With it a row has 5 columns, or 5
    and all the key points. Without it:

    - 5 columns are a box, and of 6 the last is a confidence.
    - More columns are a box with unused key points when everything after the box is zero, as files have that were
      written for a face detector with key points: no polygon has its corners there.
    - Any other row with an odd number of columns is a polygon, and the box is the one around its corners.

    Raises ValueError, saying why, on any other row.
    """
    category, *shares = (float(word) for word in text.split())
    if not all(abs(share) <= _FARTHEST for share in shares):
        raise ValueError("a value is no share of the image's width or height")
    if category < 0 or not category.is_integer():
        raise ValueError("the class is no whole number")
    kind = _kind(shares, keypoints)
    if kind == "polygon":
        left, top, right, bottom = min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])
        box = (left, top, right - left, bottom - top)
    else:
        x, y, width, height = shares[:4]
        box = (x - width / 2, y - height / 2, width, height)
    if not (box[2] > 0 and box[3] > 0):
        raise ValueError("the box is empty")
    return LabelRow(int(category), box, kind)


def _kind(shares: list[float], keypoints: tuple[int, int] | None) -> Kind:
    count = len(shares)
    if count == 4:
        return "box"
    if keypoints is not None:
        wanted = 4 + keypoints[0] * keypoints[1]
        if count != wanted:
            raise ValueError(f"{count + 1} columns, expected 5 or {wanted + 1}")
        return "extra"
    if count == 5 or (count > 5 and not any(shares[4:])):
        return "extra"
    if count >= 6 and count % 2 == 0:
        return "polygon"
    raise ValueError(f"{count + 1} columns, expected 5")
