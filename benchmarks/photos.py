"""Photos for the benchmarks of training: as large as phones' portraits after a reduction, as detailed as real ones."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo

HEIGHT, WIDTH = 512, 384
MASKS = ("worn", "incorrect", "absent")
_OCTAVES = (4, 16, 64, 192)


def write_photos(folder: Path, count: int) -> list[Face]:
    """Write the same `count` photos with a face each as a data set of ours and as class folders; return the faces.

    The first is `folder`/images and `folder`/annotations.json, a fifth of it in val; the other `folder`/classes, where
    file names are numbers.
    """
    rng = np.random.default_rng(0)
    faces, images = [], []
    with ArchiveWriter(folder / "images") as writer:
        for number in range(count):
            buffer = io.BytesIO()
            PilImage.fromarray(draw_photo(rng)).save(buffer, "JPEG", quality=90)
            mask = MASKS[number % len(MASKS)]
            writer.add(f"{number}.jpg", buffer.getvalue())
            loose = folder / "classes" / mask / f"{number}.jpg"
            loose.parent.mkdir(parents=True, exist_ok=True)
            loose.write_bytes(buffer.getvalue())
            width = rng.uniform(130, 200)
            box = (WIDTH / 2 - width / 2, rng.uniform(80, 160), width, 1.3 * width)
            faces.append(Face(number + 1, box, {"mask": mask}))
            split = "val" if number % 5 == 4 else "train"
            images.append(
                Image(number + 1, f"{number}.jpg", WIDTH, HEIGHT, (faces[-1],), person=str(number), split=split)
            )
    write_annotations(Annotations(tuple(images), DatasetInfo(leaks=False)), folder / "annotations.json")
    return faces


def noise_photo(cells: tuple[int, int], size: tuple[int, int], *, quality: int) -> bytes:
    """Make a JPEG of `size` (width, height) from (rows, columns) of random colors, the same in every call."""
    colors = np.random.default_rng(0).integers(0, 256, (*cells, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PilImage.fromarray(colors).resize(size, PilImage.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def draw_photo(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a picture, uint8 (HEIGHT, WIDTH, 3), as detailed as a photo: 1.8 bits a pixel as a JPEG."""
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.float32)
    for cells in _OCTAVES:
        for channel in range(3):
            noise = rng.normal(0, 80 / cells**0.5, (cells * 4 // 3, cells)).astype(np.float32)
            picture[..., channel] += np.asarray(
                PilImage.fromarray(noise).resize((WIDTH, HEIGHT), PilImage.Resampling.BICUBIC)
            )
    return np.clip(picture, 0, 255).astype(np.uint8)
