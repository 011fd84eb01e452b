"""The seven emotions on a drawn face: brows, eyes, mouth, tears and sweat."""

import math
from dataclasses import dataclass, replace

import numpy as np

from pipelines.samples.drawing.pen import Color, Pen, Point, arc, mix
from pipelines.samples.drawing.person import Person, lip_color


@dataclass(frozen=True, slots=True)
class Expression:
    """An emotion as offsets in pixels of the face's coordinates; all zero is neutral.

    Attributes:
        inner, outer: how far the inner and the outer ends of the brows rise.
        lids: how far the eyes are wider (or narrower) than at rest, as a share of their height; -1 is shut.
        smile_eyes: shut eyes bend upwards.
        look: how far the pupils go down and, with `aside`, to the side.
        corners: how far the corners of the mouth rise.
        stretch: how much wider the mouth is, as a share.
        gap: how far the lips are apart.
        teeth: shows both rows of teeth instead of the upper one.
        wave: how far the lips tremble.
        frown: the folds between the brows, 0 to 1.
        blush: redness of the cheeks, 0 to 1.
        tears: length of the tears.
        sweat: size of the drop at the temple.
    """

    inner: float = 0.0
    outer: float = 0.0
    lids: float = 0.0
    smile_eyes: bool = False
    look: float = 0.0
    aside: float = 0.0
    corners: float = 0.0
    stretch: float = 0.0
    gap: float = 0.0
    teeth: bool = False
    wave: float = 0.0
    frown: float = 0.0
    blush: float = 0.0
    tears: float = 0.0
    sweat: float = 0.0


EXPRESSIONS = {
    "anger": Expression(inner=-4.5, outer=2.5, lids=-0.15, corners=-3.0, stretch=0.1, gap=3.6, teeth=True, frown=1.0),
    "anxiety": Expression(inner=3.0, outer=-1.0, lids=0.45, aside=2.6, corners=-1.0, gap=0.6, wave=1.5, sweat=1.0),
    "embarrass": Expression(inner=3.6, outer=3.0, lids=0.25, stretch=-0.5, gap=7.0, blush=0.9, look=0.6),
    "happy": Expression(inner=1.0, outer=0.8, lids=-1.0, smile_eyes=True, corners=4.2, stretch=0.3, gap=5.5),
    "normal": Expression(),
    "pain": Expression(inner=2.0, outer=-3.0, lids=-1.0, corners=-2.6, stretch=0.1, frown=0.8, gap=0.0),
    "sad": Expression(inner=3.4, outer=-2.2, lids=-0.42, look=1.2, corners=-3.6, stretch=-0.2, tears=14.0),
}

_SCALED = ("inner", "outer", "stretch", "gap", "wave", "blush", "tears")
"""Attributes that a person's strength multiplies."""

_RED: Color = (226, 84, 84)
_WATER: Color = (120, 176, 226)


def weakened(expression: Expression, rng: np.random.Generator) -> Expression:
    """Returns one person's variant of an expression: weaker or stronger, looking to either side."""
    strength = float(rng.uniform(0.7, 1.1))
    side = 1.0 if rng.random() < 0.5 else -1.0
    shut = expression.lids <= -1.0
    return replace(
        expression,
        lids=-1.0 if shut else expression.lids * strength,
        aside=expression.aside * side,
        corners=expression.corners * strength + float(rng.uniform(-0.4, 0.4)),
        **{name: getattr(expression, name) * strength for name in _SCALED},
    )


def draw_skin(pen: Pen, person: Person, expression: Expression) -> None:
    """Draws blush and folds; called before the features are drawn."""
    for side in (-1, 1):
        if expression.blush:
            shade = mix(person.skin, _RED, 0.55 * min(1.0, expression.blush))
            pen.ellipse(48 + side * 15, 79, 7.5, 4.6, shade)
            for step in (-1, 0, 1):
                x = 48 + side * 15 + 3 * step
                pen.stroke([(x - 1, 80.5), (x + 1, 77)], mix(shade, _RED, 0.7), 0.7)
        if expression.frown:
            line = mix(person.skin, (80, 40, 20), 0.75 * expression.frown)
            pen.stroke([(48 + side * 1.8, 61.5), (48 + side * 2.6, 56.5)], line, 1.1)


def draw_eyes(pen: Pen, person: Person, expression: Expression, *, gaze: float) -> None:
    """Draws brows, eyes and tears."""
    lid = mix(person.skin, (40, 20, 15), 0.75)
    for side in (-1, 1):
        x = 48 + side * person.eye_gap
        _brow(pen, person, expression, side)
        if expression.lids <= -1.0:
            _shut_eye(pen, x, side, expression, lid)
        else:
            _open_eye(pen, person, x, side, expression, lid, gaze)
        if expression.tears:
            length = expression.tears
            pen.fill([(x + side * 1.5, 69), *arc(x + side * 2.5, 69 + length, 2.3, 2.6, 0, 180)], _WATER)
            pen.ellipse(x + side * 1.9, 69 + length, 0.8, 1.0, (226, 240, 252))
    if expression.sweat:
        x, y, size = 48 + person.half_width - 3.5, 55.0, 2.6 * expression.sweat
        pen.fill([(x, y - 3.2 * size), *arc(x, y, size, size, 0, 180)], _WATER)
        pen.ellipse(x - 0.8, y, 0.7, 1.0, (226, 240, 252))


def _brow(pen: Pen, person: Person, expression: Expression, side: int) -> None:
    color = mix(person.hair, (40, 26, 20), 0.45 if person.band < 2 else 0.25)
    x = 48 + side * person.eye_gap
    inner, outer = 59.4 - expression.inner, 59.8 - expression.outer
    middle = (inner + outer) / 2 - 1.6
    line = [(x - side * 6.4, inner), (x + side * 0.8, middle), (x + side * 7.4, outer)]
    pen.stroke(line, color, 1.9 if person.female else 3.0)


def _shut_eye(pen: Pen, x: float, side: int, expression: Expression, lid: Color) -> None:
    if expression.smile_eyes:
        pen.stroke(arc(x, 68, 5.8, 4.4, 190, 350), lid, 1.6)
        return
    pen.stroke([(x + side * 5.6, 63.0), (x - side * 4.6, 66.2), (x + side * 5.6, 69.4)], lid, 1.6)


def _open_eye(pen: Pen, person: Person, x: float, side: int, expression: Expression, lid: Color, gaze: float) -> None:
    high = 1.0 + expression.lids
    upper, lower = 3.6 * high, 2.6 * max(high, 0.8)
    pen.fill([*arc(x, 66, 5.6, upper, 180, 360), *arc(x, 66, 5.6, lower, 0, 180)], (248, 246, 242))
    pupil_x, pupil_y = x + gaze + expression.aside, 65.8 + expression.look * 0.5
    small = 0.8 if expression.lids > 0.3 else 1.0
    pen.ellipse(pupil_x, pupil_y, 2.7 * small, min(2.9 * small, 0.5 * (upper + lower)), (58, 36, 26))
    pen.ellipse(pupil_x + 0.8, pupil_y - 1.0, 0.8, 0.8, (255, 255, 255))
    pen.stroke(arc(x, 66, 5.8, upper + 0.2, 185, 355), lid, 1.5 if person.female else 1.0)
    if person.female:
        pen.stroke([(x + side * 5.2, 64.8), (x + side * 8, 63.0)], lid, 1.2)


def draw_mouth(pen: Pen, person: Person, expression: Expression) -> None:
    """Draws the mouth: two lips and, between them, teeth or a dark opening."""
    lips = lip_color(person)
    half = (8.2 if person.female else 9.2) * (1 + expression.stretch)
    upper: list[Point] = []
    lower: list[Point] = []
    for step in range(17):
        share = step / 8 - 1
        bend = expression.corners * (0.45 - share**2)
        y = 88.4 + bend + expression.wave * math.sin(share * 2.5 * math.pi)
        arch = math.sqrt(1 - share**2) * expression.gap
        upper.append((48 + half * share, y - 0.45 * arch))
        lower.append((48 + half * share, y + 0.55 * arch))
    if expression.gap > 1.5:
        pen.fill([*upper, *reversed(lower)], (98, 26, 34))
        if expression.teeth or expression.corners > 1:
            share = 1.0 if expression.teeth else 0.45
            edge = [(x, y + share * (low - y)) for (x, y), (_, low) in zip(upper, lower, strict=True)]
            pen.fill([*upper, *reversed(edge)], (250, 248, 240))
        if expression.teeth:
            for at in range(2, 16, 2):
                pen.stroke([upper[at], lower[at]], (170, 150, 146), 0.6)
            pen.stroke([((x + u) / 2, (y + v) / 2) for (x, y), (u, v) in zip(upper, lower, strict=True)], lips, 0.5)
    wide = 2.3 if person.female else 1.5
    pen.stroke(upper, lips, wide)
    pen.stroke([(x, y + 0.6) for x, y in lower], lips, wide * 1.2)
    if expression.gap <= 1.5:
        pen.stroke(upper, mix(lips, (40, 0, 0), 0.5), 0.9)
