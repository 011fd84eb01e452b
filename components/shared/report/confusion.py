"""Confusion matrices as pictures."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SQUARE, _GAP, _FONT_SIZE = 44, 8, 12
_LONGEST = 150
"""Pixels of the name above a column."""
_LIGHT, _DARK = (255, 255, 255), (8, 48, 107)


def confusion_picture(
    labels: Sequence[str], matrix: NDArray[np.int64], *, normalized: bool = False
) -> NDArray[np.uint8]:
    """Draw a confusion matrix (K, K), rows truth, columns prediction; the shade is the share of the row.

    Returns uint8 (H, W, 3) RGB: labels at the left, numbered, and above the columns as far as they fit, counts in the
    cells. `normalized` writes the shares with two digits instead, and nothing for 0; a class without a face has none.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    titles = [f"{number} {label}" for number, label in enumerate(labels)]
    legend = f"rows: truth, columns: prediction{', shares of the row' if normalized else ''}"
    heads = [_shortened(title, font) for title in titles]
    side = _SQUARE * len(labels)
    top = 2 * _FONT_SIZE + 2 * _GAP + round(max(map(font.getlength, heads)))
    left = int(max(*map(font.getlength, titles), font.getlength(legend) - side)) + 2 * _GAP
    sheet = Image.new("RGB", (left + side + _GAP, top + side + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), legend, fill="black", font=font)
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    for row, title in enumerate(titles):
        pen.text((left - _GAP, top + _SQUARE * (row + 0.5)), title, fill="black", font=font, anchor="rm")
        upright = Image.new("RGB", (math.ceil(font.getlength(heads[row])), _FONT_SIZE + 4), "white")
        ImageDraw.Draw(upright).text((0, upright.height / 2), heads[row], fill="black", font=font, anchor="lm")
        turned = upright.rotate(90, expand=True)
        sheet.paste(turned, (left + _SQUARE * row + (_SQUARE - turned.width) // 2, top - 4 - turned.height))
        for column, share in enumerate(shares[row].tolist()):
            x, y = left + _SQUARE * column, top + _SQUARE * row
            shade = tuple(round(light + (dark - light) * share) for light, dark in zip(_LIGHT, _DARK, strict=True))
            pen.rectangle((x, y, x + _SQUARE, y + _SQUARE), fill=shade, outline="lightgray")
            ink = "white" if share > 0.5 else "black"
            written = (f"{share:.2f}" if matrix[row, column] else "") if totals[row] else "-"
            text = written if normalized else str(matrix[row, column])
            pen.text((x + _SQUARE / 2, y + _SQUARE / 2), text, fill=ink, font=font, anchor="mm")
    return np.asarray(sheet)


def _shortened(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while font.getlength(title) > _LONGEST:
        title = title.removesuffix("…")[:-1] + "…"
    return title
