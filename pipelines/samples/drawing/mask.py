"""The masks that drawn persons wear."""

from typing import Literal

from pipelines.samples.drawing.pen import Color, Pen, mix
from pipelines.samples.drawing.person import Person, jaw_line

Wearing = Literal["worn", "nose out", "chin", "absent"]

MASKS: tuple[tuple[Color, Color], ...] = (
    ((34, 34, 38), (74, 74, 82)),
    ((112, 174, 220), (74, 134, 184)),
    ((246, 246, 246), (186, 190, 196)),
    ((244, 166, 184), (206, 114, 140)),
    ((94, 128, 84), (226, 204, 110)),
)
"""Cloth and fold color of each mask style: black, blue pleated, white folded, pink, patterned."""

# Heights of the upper edge beside the nose and on it, and how far the mask is pulled down.
_EDGES = {"worn": (75.0, 69.5, 0.0), "nose out": (86.0, 83.5, 1.5), "chin": (94.0, 93.0, 5.0)}


def draw_mask(pen: Pen, person: Person, wearing: Wearing, style: int) -> None:
    """Draws a mask whose upper edge is on the nose's bridge, under the nose's tip, or under the lower lip."""
    cloth, fold = MASKS[style]
    edge, peak, drop = _EDGES[wearing]
    rim = [(48 + (x - 48) * 1.03, min(y + drop + 1.0, 116.0)) for x, y in jaw_line(person, 1.5) if y >= edge - drop]
    right, left = rim[0], rim[-1]
    for side, corner in ((1, right), (-1, left)):
        ear = (48 + side * (person.half_width + 1.5), 66)
        pen.stroke([corner, ear], mix(cloth, (255, 255, 255), 0.35), 1.0)
        pen.stroke([(corner[0] - side * 1.5, min(corner[1] + 14, 104)), ear], mix(cloth, (255, 255, 255), 0.35), 1.0)
    upper = [
        left,
        (48 - 13, edge + 0.5),
        (48 - 5, peak + 0.4),
        (48, peak),
        (48 + 5, peak + 0.4),
        (48 + 13, edge + 0.5),
        right,
    ]
    pen.fill([*upper, *rim], cloth)
    middle, low = (peak + person.chin + drop) / 2, person.chin + drop
    if style == 1:
        for row in (-0.5, 0.0, 0.5):
            y = middle + row * (low - peak) * 0.45
            pen.stroke([(48 - 17, y), (48, y + 1.5), (48 + 17, y)], fold, 1.0)
    elif style in (0, 2):
        pen.stroke(
            [(48, peak + 1), (48, low)] if style == 0 else [(48 - 20, middle), (48, middle - 3), (48 + 20, middle)],
            fold,
            1.3,
        )
    elif style == 4:
        dot = (low - peak) * 0.055
        for row in range(3):
            y = peak + (low - peak) * (0.3 + 0.24 * row)
            for column in range(-2, 3):
                pen.ellipse(48 + column * 6.5 + (row % 2) * 3.0 - 1.5, y, dot, dot, fold)
    pen.stroke(upper, mix(cloth, fold, 0.8), 1.1)
