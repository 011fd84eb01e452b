"""The pictures that all servers are sent: a drawn face before a structured wall, as large as a phone's small JPEG."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.samples.drawing.expression import EXPRESSIONS
from pipelines.samples.drawing.face import PORTRAIT, draw_portrait
from pipelines.samples.drawing.person import draw_person

COUNT = 64
SIZE = (640, 480)
"""Width and height in pixels."""

_PORTRAIT_HEIGHT = 420
_BANDS = 3
# Cells of noise on the wall across the picture, each finer one weaker: together about 75 KiB as a JPEG.
_OCTAVES = (8, 32, 128, 320)


def draw_picture(number: int) -> bytes:
    """Draw a JPEG of SIZE with one face of a person, the same bytes for the same number."""
    rng = np.random.default_rng([16, number])
    wall = np.full((SIZE[1], SIZE[0], 3), rng.uniform(90, 160, 3), np.float32)
    for cells in _OCTAVES:
        noise = rng.normal(0, 110 / cells**0.5, (cells * 3 // 4, cells, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel]).resize(SIZE, Image.Resampling.BICUBIC)
            wall[..., channel] += np.asarray(layer)
    picture = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
    person = draw_person(bool(number % 2), number // 2 % _BANDS, rng)
    portrait, _ = draw_portrait(person, EXPRESSIONS[("normal", "happy")[number % 2]], rng)
    size = (round(PORTRAIT[0] * _PORTRAIT_HEIGHT / PORTRAIT[1]), _PORTRAIT_HEIGHT)
    left = int(rng.integers(0, SIZE[0] - size[0] + 1))
    picture.paste(portrait.resize(size, Image.Resampling.BICUBIC), (left, SIZE[1] - _PORTRAIT_HEIGHT))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=(90, 92, 93, 94)[number % 4])
    return buffer.getvalue()


def write_pictures(folder: Path) -> list[Path]:
    """Write COUNT pictures as 0.jpg and so on, where they are not there yet, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.jpg" for number in range(COUNT)]
    for number, file in enumerate(files):
        if not file.exists():
            file.write_bytes(draw_picture(number))
    return files
