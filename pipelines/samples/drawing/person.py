"""Traits of a drawn person, equal in all photos."""

import math
from dataclasses import dataclass

import numpy as np

from pipelines.samples.drawing.pen import Color, Point, mix

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
