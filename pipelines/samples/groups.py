"""Drawn group photos: several portraits side by side in one picture, with the boxes, genders and ages in COCO JSON."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from pipelines.samples.drawing.expression import EXPRESSIONS, weakened
from pipelines.samples.drawing.face import PORTRAIT, draw_portrait
from pipelines.samples.drawing.person import WALLS, draw_person
from pipelines.samples.profiles import BANDS
from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder

PERSONS = 240
ANNOTATIONS = "annotations.json"

_IN_A_PHOTO = (2, 3, 4, 5)
_SCALE = (0.8, 1.1)
_COLUMNS = 3


def draw_groups(folder: Path, *, persons: int = PERSONS, seed: int = 0) -> int:
    """Draws photos of two to five persons each below `folder`, which must be new or empty; all or none are written.

    Every person is in one photo. Genders and age bands alternate. Returns the number of photos.

    Raises:
        InputError: `folder` is not empty or `persons` is not positive.
    """
    if persons < 1:
        raise InputError(f"persons: expected at least 1, got {persons}")
    with whole_folder(folder) as root:
        (root / "images").mkdir()
        images = []
        for number, group in enumerate(_groups(persons, seed), start=1):
            picture, faces = _draw_photo(group, seed)
            name = f"images/{number:04d}.jpg"
            picture.save(root / name, quality=92)
            images.append(Image(number, name, picture.width, picture.height, faces))
        write_annotations(Annotations(tuple(images)), root / ANNOTATIONS)
    return len(images)


def _groups(persons: int, seed: int) -> Iterator[range]:
    """The persons of each photo, by number."""
    rng = np.random.default_rng([seed, 0])
    first = 0
    while first < persons:
        last = min(persons, first + int(rng.choice(_IN_A_PHOTO)))
        yield range(first, last)
        first = last


def _draw_photo(group: range, seed: int) -> tuple[Picture.Image, tuple[Face, ...]]:
    """Draws the persons in rows before a wall; every draw depends on `seed` and the persons only."""
    rng = np.random.default_rng([seed, 1, group.start])
    width, height = (round(side * _SCALE[1]) + 8 for side in PORTRAIT)
    rows = -(-len(group) // _COLUMNS)
    wall = WALLS[rng.integers(len(WALLS))]
    photo = Picture.new("RGB", (width * min(len(group), _COLUMNS), height * rows), wall)
    faces = []
    for position, index in enumerate(group):
        draws = np.random.default_rng([seed, 2, index])
        female, band = bool(index % 2), index // 2 % len(BANDS)
        expression = weakened(EXPRESSIONS[("normal", "happy")[draws.integers(2)]], draws)
        portrait, box = draw_portrait(draw_person(female, band, draws), expression, draws)
        scale = draws.uniform(*_SCALE)
        portrait = portrait.resize(tuple(round(side * scale) for side in PORTRAIT), Picture.Resampling.BICUBIC)  # type: ignore[arg-type]
        left = position % _COLUMNS * width + int(draws.integers(width - portrait.width + 1))
        top = position // _COLUMNS * height + height - portrait.height
        photo.paste(portrait, (left, top))
        x, y, right, bottom = (value * scale for value in box)
        age = int(draws.integers(BANDS[band][0], BANDS[band][1] + 1))
        attributes = {"gender": "female" if female else "male", "age": age}
        faces.append(Face(index + 1, (left + x, top + y, right - x, bottom - y), attributes))
    return photo, tuple(faces)
