"""A picture of a confusion matrix."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL = 44
_GAP = 8
_FONT_SIZE = 12
_LIGHT, _DARK = (255, 255, 255), (8, 48, 107)


def confusion_picture(labels: Sequence[str], matrix: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draw a confusion matrix (K, K), rows truth, columns prediction; the shade is the share of the row.

    Returns uint8 (H, W, 3) RGB: labels at the left, numbered, the numbers of the columns above, counts in the cells.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    titles = [f"{number} {label}" for number, label in enumerate(labels)]
    left = int(max(font.getlength(title) for title in titles)) + 2 * _GAP
    top, side = 3 * _FONT_SIZE + _GAP, _CELL * len(labels)
    sheet = Image.new("RGB", (left + side + _GAP, top + side + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), "rows: truth, columns: prediction", fill="black", font=font)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for row, title in enumerate(titles):
        pen.text((left - _GAP, top + _CELL * (row + 0.5)), title, fill="black", font=font, anchor="rm")
        pen.text((left + _CELL * (row + 0.5), top - 3), str(row), fill="black", font=font, anchor="mb")
        for column, share in enumerate(shares[row].tolist()):
            x, y = left + _CELL * column, top + _CELL * row
            shade = tuple(round(light + (dark - light) * share) for light, dark in zip(_LIGHT, _DARK, strict=True))
            pen.rectangle((x, y, x + _CELL, y + _CELL), fill=shade, outline="lightgray")
            ink = "white" if share > 0.5 else "black"
            pen.text((x + _CELL / 2, y + _CELL / 2), str(matrix[row, column]), fill=ink, font=font, anchor="mm")
    return np.asarray(sheet)
