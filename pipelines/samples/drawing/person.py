"""Traits of a drawn person, equal in all photos, and the masks that persons wear."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.samples.drawing.pen import Color, Pen, Point, mix

SKINS: tuple[Color, ...] = ((250, 220, 190), (242, 205, 172), (229, 188, 150), (214, 168, 128), (192, 144, 104))
YOUNG_HAIR: tuple[Color, ...] = ((24, 20, 22), (52, 34, 24), (92, 56, 30), (122, 62, 36))
MIDDLE_HAIR: tuple[Color, ...] = ((62, 58, 60), (76, 66, 60), (86, 82, 84))
OLD_HAIR: tuple[Color, ...] = ((236, 236, 234), (222, 222, 224), (208, 206, 206))
CLOTHES: tuple[Color, ...] = (
    (52, 74, 110),
    (120, 48, 56),
    (66, 92, 70),
    (70, 70, 76),
    (206, 200, 186),
    (150, 110, 150),
)
WALLS: tuple[Color, ...] = ((178, 196, 206), (204, 196, 178), (168, 186, 164), (190, 178, 196), (150, 160, 172))

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


@dataclass(frozen=True, slots=True)
class Person:
    """The traits of one person."""

    female: bool
    band: int
    """Age band: 0 is under 30, 1 is 30-59, 2 is 60 and over."""
    skin: Color
    hair: Color
    clothes: Color
    wall: Color
    half_width: float
    jaw: float
    """Exponent of the lower outline: 2 is an ellipse, more is squarer."""
    chin: float
    eye_gap: float
    hair_style: int
    glasses: bool


def draw_person(female: bool, band: int, rng: np.random.Generator) -> Person:
    """Draws the traits of one person: gender and age band decide hair, brows, lips, jaw and wrinkles."""
    hair = (YOUNG_HAIR, MIDDLE_HAIR, OLD_HAIR)[band]
    return Person(
        female=female,
        band=band,
        skin=_jitter(SKINS[rng.integers(len(SKINS))], 6, rng),
        hair=_jitter(hair[rng.integers(len(hair))], 5, rng),
        clothes=_jitter(CLOTHES[rng.integers(len(CLOTHES))], 14, rng),
        wall=_jitter(WALLS[rng.integers(len(WALLS))], 12, rng),
        half_width=float(rng.uniform(23.5, 26.0) if female else rng.uniform(25.5, 28.5)),
        jaw=float(rng.uniform(1.9, 2.15) if female else rng.uniform(2.4, 2.9)),
        chin=float(rng.uniform(97, 101) if female else rng.uniform(99, 104)),
        eye_gap=float(rng.uniform(10.3, 12.0)),
        hair_style=int(rng.integers(3)),
        glasses=bool(rng.random() < 0.15),
    )


def lip_color(person: Person) -> Color:
    """The color of a person's lips; women wear lipstick."""
    if person.female:
        return mix((206, 44, 72), person.skin, 0.10 + 0.18 * person.band)
    return mix(person.skin, (150, 70, 60), 0.50)


def jaw_line(person: Person, grow: float = 0.0) -> list[Point]:
    """The lower outline from the right cheek over the chin to the left cheek."""
    points = []
    for step in range(25):
        turn = math.pi * step / 24
        x = math.copysign(abs(math.cos(turn)) ** (2 / person.jaw), math.cos(turn))
        y = math.sin(turn) ** (2 / person.jaw)
        points.append((48 + (person.half_width + grow) * x, 64 + (person.chin - 64 + grow) * y))
    return points


def _jitter(color: Color, amount: int, rng: np.random.Generator) -> Color:
    red, green, blue = (min(255, max(0, part + int(rng.integers(-amount, amount + 1)))) for part in color)
    return red, green, blue


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
