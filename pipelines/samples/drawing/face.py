"""Photos of drawn persons. Coordinates are those of the finished picture, x to the right and y down."""

import math

import numpy as np
from PIL import Image

from pipelines.samples.drawing.expression import Expression, draw_eyes, draw_mouth, draw_skin
from pipelines.samples.drawing.pen import SCALE, Color, Pen, Point, arc, mix
from pipelines.samples.drawing.person import Person, Wearing, draw_mask, jaw_line, lip_color

PORTRAIT = (160, 192)
"""Width and height of a portrait in pixels."""

_CANVAS = (120, 144)


def draw_photo(person: Person, wearing: Wearing, style: int, rng: np.random.Generator) -> Image.Image:
    """Draws one photo, RGB, 96 x 128 (width x height), with a mask of a style in `MASKS`.

    `rng` draws pose, light and sensor noise.
    """
    pen = Pen(
        person.wall,
        tilt=rng.uniform(-5, 5),
        zoom=rng.uniform(0.93, 1.07),
        shift=(rng.uniform(-3, 3), rng.uniform(-3, 3)),
    )
    _background(pen, person)
    _wrinkles(pen, person)
    _eyes(pen, person, gaze=float(rng.uniform(-1, 1)))
    _nose(pen, person)
    _mouth(pen, person, smile=float(rng.uniform(-0.5, 2.0)))
    _hair_in_front(pen, person, rng)
    if wearing != "absent":
        draw_mask(pen, person, wearing, style)
    if person.glasses:
        _glasses(pen, person)
    return _develop(pen.image.reduce(SCALE), rng)


def draw_portrait(
    person: Person, expression: Expression, rng: np.random.Generator
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Draws a photo of a face with an expression, RGB, of the size `PORTRAIT`; `rng` draws position, light and noise.

    Returns the photo and the face from the hairline to the chin: left, top, right and bottom in its pixels.
    """
    pen = Pen(
        person.wall,
        tilt=rng.uniform(-5, 5),
        zoom=rng.uniform(1.0, 1.2),
        shift=(12 + rng.uniform(-8, 8), rng.uniform(9, 15)),
        size=_CANVAS,
    )
    _background(pen, person)
    draw_skin(pen, person, expression)
    _wrinkles(pen, person)
    draw_eyes(pen, person, expression, gaze=float(rng.uniform(-0.6, 0.6)))
    _nose(pen, person)
    draw_mouth(pen, person, expression)
    _hair_in_front(pen, person, rng)
    if person.glasses:
        _glasses(pen, person)
    xs, ys = zip(*pen.place([*arc(48, 64, person.half_width, 30, 180, 360), *jaw_line(person)]), strict=True)
    to_photo = PORTRAIT[0] / pen.image.width
    box = (min(xs) * to_photo, min(ys) * to_photo, max(xs) * to_photo, max(ys) * to_photo)
    return _develop(pen.image.resize(PORTRAIT, Image.Resampling.BOX), rng), box


def _background(pen: Pen, person: Person) -> None:
    """Draws everything behind the features of the face: wall, hair, body, head."""
    width, height = pen.image.size
    pen.canvas.rectangle((0, 0, width, 26 * SCALE), fill=mix(person.wall, (255, 255, 255), 0.18))
    pen.canvas.rectangle((0, 92 * SCALE, width, height), fill=mix(person.wall, (0, 0, 0), 0.12))
    _hair_behind(pen, person)
    _body(pen, person)
    _head(pen, person)


def _hair_behind(pen: Pen, person: Person) -> None:
    if not person.female:
        return
    shade = mix(person.hair, (0, 0, 0), 0.35 if person.band == 2 else 0.22)
    wide = person.half_width + 8
    if person.hair_style == 2:
        pen.ellipse(48, 24, 12, 10, shade)
        pen.ellipse(48, 60, person.half_width + 3, 38, shade)
        return
    down = 124.0 if person.hair_style == 0 else 104.0
    pen.fill([*arc(48, 60, wide, 37, 180, 360), (48 + wide + 2, down), (48, down + 4), (48 - wide - 2, down)], shade)


def _body(pen: Pen, person: Person) -> None:
    dark_skin = mix(person.skin, (90, 40, 20), 0.28)
    shoulder = 36 if person.female else 44
    pen.fill([(38, 90), (58, 90), (60, 116), (36, 116)], dark_skin)
    pen.fill(
        [
            (48 - shoulder, 140),
            (48 - shoulder + 5, 118),
            (36, 110),
            (60, 110),
            (48 + shoulder - 5, 118),
            (48 + shoulder, 140),
        ],
        person.clothes,
    )
    pen.fill([(37, 108), (59, 108), (48, 122 if person.female else 116)], dark_skin)


def _head(pen: Pen, person: Person) -> None:
    outline = mix(person.skin, (90, 40, 20), 0.22)
    for side in (-1, 1):
        pen.ellipse(48 + side * (person.half_width + 1), 68, 4, 7, outline)
    top = arc(48, 64, person.half_width, 36, 180, 360, 24)
    pen.fill([*top, *jaw_line(person)], outline)
    pen.fill([(48 + (x - 48) * 0.955, 66 + (y - 66) * 0.97) for x, y in [*top, *jaw_line(person)]], person.skin)
    if person.band == 0:
        for side in (-1, 1):
            pen.ellipse(48 + side * 15, 80, 5, 3.4, mix(person.skin, (235, 110, 100), 0.22))


def _wrinkles(pen: Pen, person: Person) -> None:
    """Forehead lines, crow's feet, eye bags and folds beside the nose: none, some, many."""
    if person.band == 0:
        return
    line = mix(person.skin, (80, 40, 20), 0.38 if person.band == 1 else 0.55)
    width = 0.9 if person.band == 1 else 1.3
    for row in range(2 if person.band == 1 else 3):
        pen.stroke(arc(48, 52 - 4.2 * row, 14 - row, 2.5, 200, 340), line, width)
    for side in (-1, 1):
        eye = 48 + side * person.eye_gap
        for step in range(2 if person.band == 1 else 3):
            pen.stroke([(eye + side * 7.2, 65 + step), (eye + side * 11, 62.5 + 3 * step)], line, width * 0.8)
        pen.stroke(arc(eye, 67, 5.5, 4.5, 30, 150), line, width)
        pen.stroke([(48 + side * 7, 79), (48 + side * 11, 86), (48 + side * 11.5, 90)], line, width)
        if person.band == 2:
            pen.stroke(arc(eye, 68, 7, 6, 30, 150), line, width * 0.8)


def _eyes(pen: Pen, person: Person, *, gaze: float) -> None:
    brow = mix(person.hair, (40, 26, 20), 0.45 if person.band < 2 else 0.12)
    lid = mix(person.skin, (40, 20, 15), 0.75)
    for side in (-1, 1):
        x = 48 + side * person.eye_gap
        pen.fill([*arc(x, 66, 5.6, 3.6, 180, 360), *arc(x, 66, 5.6, 2.6, 0, 180)], (248, 246, 242))
        pen.ellipse(x + gaze, 65.6, 2.7, 2.9, (58, 36, 26))
        pen.ellipse(x + gaze + 0.8, 64.7, 0.8, 0.8, (255, 255, 255))
        pen.stroke(arc(x, 66, 5.8, 3.8, 185, 355), lid, 1.5 if person.female else 0.9)
        if person.female:
            pen.stroke([(x + side * 5.2, 64.8), (x + side * 8, 62.4)], lid, 1.2)
            pen.stroke(arc(x, 62, 6.6, 4.6, 200, 335), brow, 1.2)
        else:
            pen.stroke([(x - side * 6, 59.2), (x + side * 2, 57.6), (x + side * 7.4, 59.6)], brow, 3.0)


def _nose(pen: Pen, person: Person) -> None:
    shade = mix(person.skin, (110, 50, 30), 0.34)
    wide = 3.6 if person.female else 4.8
    pen.stroke([(46, 66), (45, 74), (48 - wide, 78.5)], shade, 0.9)
    pen.stroke(arc(48, 78.5, wide, 2.8, 10, 170), shade, 1.3)
    for side in (-1, 1):
        pen.ellipse(48 + side * 2.2, 79.6, 1.1, 0.8, mix(person.skin, (50, 15, 10), 0.65))


def _mouth(pen: Pen, person: Person, *, smile: float) -> None:
    lips = lip_color(person)
    half, full = (7.6, 2.9) if person.female else (9.0, 1.7)
    corner = 88 - smile
    pen.fill(
        [
            (48 - half, corner),
            (45, 88 - full),
            (48, 88.8 - full),
            (51, 88 - full),
            (48 + half, corner),
            (52, 88 + full * 1.2 + 0.4),
            (44, 88 + full * 1.2 + 0.4),
        ],
        lips,
    )
    pen.stroke([(48 - half, corner), (48, 88.6), (48 + half, corner)], mix(lips, (40, 0, 0), 0.5), 0.8)


def _hair_in_front(pen: Pen, person: Person, rng: np.random.Generator) -> None:
    wide = person.half_width + (3.5 if person.female else 2.0)
    if person.band == 2 and not person.female:
        _hair_of_a_bald_head(pen, person, wide)
        return
    line = 41.0 - 2.0 * person.band
    outer = arc(48, 62, wide, 38, 180, 360, 24)
    sides: list[Point]
    middle: list[Point]
    if person.female and person.hair_style == 1 and person.band == 0:
        sides, middle = [(5, 70), (7, 55)], [(48, 54)]
    elif person.female:
        sides, middle = [(4, 80), (9, 52)], [(48, line - 4)]
    elif person.hair_style == 1:
        sides, middle = [(3, 64), (6, 48)], [(58, line + 6), (38, line + 1)]
    else:
        sides, middle = [(3, 64), (5, 49)], [(62, line + 2), (48, line), (34, line + 2)]
    right = [(48 + wide - inset, y) for inset, y in sides]
    left = [(48 - wide + inset, y) for inset, y in reversed(sides)]
    inner = [*right, *middle, *left]
    pen.fill([*outer, *inner], person.hair)
    light = mix(person.hair, (255, 255, 255), 0.16 if person.band != 1 else 0.55)
    strands = 7 if person.band != 1 else 13
    for step in range(strands):
        turn = math.radians(198 + 144 * (step + float(rng.uniform(-0.2, 0.2))) / (strands - 1))
        x, y = math.cos(turn), math.sin(turn)
        reach = 0.88 if person.band != 1 else float(rng.uniform(0.80, 0.88))
        pen.stroke([(48 + (wide - 1.5) * x, 62 + 36.5 * y), (48 + wide * reach * x, 62 + 38 * reach * y)], light, 0.9)


def _hair_of_a_bald_head(pen: Pen, person: Person, wide: float) -> None:
    """Draws the hair above the ears."""
    for side in (-1, 1):
        outside = [(48 + side * (x - 48), y) for x, y in arc(48, 62, wide + 2, 38, 312, 372)]
        inside = [(48 + side * (person.half_width - 4), 70), (48 + side * (person.half_width - 8), 42)]
        pen.fill([*outside, *inside], person.hair)


def _glasses(pen: Pen, person: Person) -> None:
    frame: Color = (40, 36, 44)
    for side in (-1, 1):
        x = 48 + side * person.eye_gap
        pen.stroke(arc(x, 66.5, 8, 6.4, 0, 370, 28), frame, 1.1)
        pen.stroke([(x + side * 8, 65), (48 + side * (person.half_width + 1), 64)], frame, 1.1)
    pen.stroke([(48 - person.eye_gap + 8, 66), (48, 64.8), (48 + person.eye_gap - 8, 66)], frame, 1.1)


def _develop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """From a drawing to a photo: adds uneven light, a color cast and sensor noise to an RGB picture."""
    pixels = np.asarray(image, dtype=np.float32)
    down, across = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    light = 1.0 + 0.10 * (math.cos(angle) * across + math.sin(angle) * down) - 0.07 * (across**2 + down**2)
    cast = rng.uniform(0.97, 1.03, size=3).astype(np.float32) * rng.uniform(0.88, 1.08)
    noise = 3.0 * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels * light[:, :, None] * cast + noise, 0, 255).round().astype(np.uint8))
