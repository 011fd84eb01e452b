"""The drawn sample data set: small face pictures in the profile-folder layout, the same bytes for the same seed.

One folder a person, `<id>_<gender>_Asian_<age>`, with seven pictures each: `mask1` ... `mask5`, `incorrect_mask` and
`normal`, with the mixed file extensions and the unrelated files of real data.
"""

from pathlib import Path

import numpy as np

from pipelines.samples.drawing.face import draw_photo
from pipelines.samples.drawing.person import Wearing, draw_person
from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder

PERSONS = 120
EXTENSIONS = ("jpg", "jpg", "jpg", "jpg", "jpg", "png", "jpeg", "JPG")
BANDS = ((18, 29), (30, 59), (60, 75))
"""Youngest and oldest age of each band."""


def draw_sample(folder: Path, *, persons: int = PERSONS, seed: int = 0) -> int:
    """Draws `persons` persons below `folder`, which must be new or empty; it is written whole or not at all.

    Genders and age bands alternate, so every six persons have each pair of them once, and the first persons of a band
    have the ages at its borders. Returns the number of pictures.

    Raises:
        InputError: `folder` is not empty or `persons` is not positive.
    """
    if persons < 1:
        raise InputError(f"persons: expected at least 1, got {persons}")
    with whole_folder(folder) as root:
        for index in range(persons):
            _draw_profile(root, index, seed)
        (root / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    return persons * 7


def _draw_profile(root: Path, index: int, seed: int) -> None:
    """Draws the seven pictures of a person; every draw depends on `seed` and `index` only."""
    rng = np.random.default_rng([seed, index])
    female, band, turn = bool(index % 2), index // 2 % 3, index // 6
    person = draw_person(female, band, rng)
    folder = root / f"{_identity(index)}_{'female' if female else 'male'}_Asian_{_age(band, turn, rng)}"
    folder.mkdir()
    extension = EXTENSIONS[rng.integers(len(EXTENSIONS))]
    mixed = rng.random() < 0.1
    pulled_down: Wearing = "nose out" if rng.random() < 0.5 else "chin"
    photos: dict[str, tuple[Wearing, int]] = {f"mask{style + 1}": ("worn", style) for style in range(5)}
    photos["incorrect_mask"] = pulled_down, int(rng.integers(5))
    photos["normal"] = "absent", 0
    for number, (stem, (wearing, style)) in enumerate(photos.items()):
        picture = draw_photo(person, wearing, style, np.random.default_rng([seed, index, number]))
        suffix = EXTENSIONS[rng.integers(len(EXTENSIONS))] if mixed else extension
        picture.save(folder / f"{stem}.{suffix}", quality=92)
    if index % 8 == 3:
        (folder / f"._mask1.{extension}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")


def _identity(index: int) -> str:
    """Six digits; every tenth person has the digits of the one before with a suffix."""
    return f"{index:06d}-1" if index % 10 == 9 else f"{index + 1:06d}"


def _age(band: int, turn: int, rng: np.random.Generator) -> int:
    youngest, oldest = BANDS[band]
    borders = {0: youngest, 1: oldest} if band < 2 else {0: youngest}
    return borders.get(turn, int(rng.integers(youngest, oldest + 1)))
