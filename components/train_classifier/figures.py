"""How well a network does, for people: a table of classes and a sheet of pictures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from components.shared.metrics.classification import ClassScore

_GRID = 4
SHOWN = _GRID * _GRID
"""How many predictions a grid shows."""

_CELL = 112
_LINE = 14


def class_table(labels: Sequence[str], classes: Sequence[ClassScore]) -> str:
    """Return lines with how many faces of every class there are and how many were right; X where there are none."""
    width = max(len("class"), *(len(label) for label in labels))
    lines = [f"{'class':<{width}}  correct  total  accuracy"]
    for label, score in zip(labels, classes, strict=True):
        correct = round(score.recall * score.support)
        accuracy = f"{score.recall:.4f}" if score.support else "X"
        lines.append(f"{label:<{width}}  {correct:>7}  {score.support:>5}  {accuracy:>8}")
    return "\n".join(lines)


def spread(count: int) -> list[int]:
    """Return up to SHOWN indices, evenly spread over 0..count-1."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(SHOWN, count))})


def prediction_grid(pictures: Sequence[tuple[NDArray[np.uint8], int, int]], labels: Sequence[str]) -> NDArray[np.uint8]:
    """Draw up to 16 pictures uint8 (h,w,3) RGB in 4 rows, each above its true class and the one it was given.

    The latter is green where it is right and red otherwise; a label of several attributes takes as many lines. Returns
    uint8 (H,W,3), of one size for a label space.
    """
    lines = 1 + max(label.count("/") for label in labels)
    cell_height = _CELL + _LINE * 2 * lines + 6
    sheet = Image.new("RGB", (_GRID * _CELL, _GRID * cell_height), "white")
    pen = ImageDraw.Draw(sheet)
    for at, (pixels, truth, guess) in enumerate(pictures[:SHOWN]):
        left, top = at % _GRID * _CELL, at // _GRID * cell_height
        picture = Image.fromarray(pixels)
        picture.thumbnail((_CELL - 4, _CELL - 4))
        sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        text = [(f"is {labels[truth]}", "black"), (f"got {labels[guess]}", "green" if guess == truth else "red")]
        for row, (title, color) in enumerate(text):
            pen.multiline_text((left + 4, top + _CELL + row * _LINE * lines), title.replace("/", "\n  "), fill=color)
    return np.asarray(sheet)
