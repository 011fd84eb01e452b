"""Drawn photos for a detector of several labels: round faces, some behind a mask, which is not always easy to tell."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo

SPACE = "mask:worn,absent"
_LABELS = ("worn", "absent")
Box = tuple[float, float, float, float]


def write_door_photos(folder: Path, counts: dict[str, int], size: tuple[int, int], seed: int = 0) -> None:
    """Write `images` and `annotations.json` into a folder.

    Args:
        folder: the folder.
        counts: how many photos each split has.
        size: height and width of the photos.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    images: list[Image] = []
    with ArchiveWriter(folder / "images") as archive:
        for split, count in counts.items():
            for _ in range(count):
                number = len(images) + 1
                boxes = _boxes(size, rng)
                labels = [int(rng.integers(2)) for _ in boxes]
                name = f"{split}/{number}.png"
                archive.add(name, _photo(size, boxes, labels, rng))
                faces = tuple(
                    Face(100 * number + at, box, {"mask": _LABELS[label]})
                    for at, (box, label) in enumerate(zip(boxes, labels, strict=True))
                )
                images.append(Image(number, name, size[1], size[0], faces, person=str(number), split=split))
    write_annotations(Annotations(tuple(images), DatasetInfo(format="drawn")), folder / "annotations.json")


def _boxes(size: tuple[int, int], rng: np.random.Generator) -> list[Box]:
    """Up to five faces that may overlap a little."""
    boxes: list[Box] = []
    scale = size[1] / 160
    for _ in range(int(rng.integers(1, 6))):
        width = float(round(rng.uniform(18, 44) * scale))
        height = float(round(width * rng.uniform(1.0, 1.3)))
        box = float(rng.integers(0, size[1] - int(width))), float(rng.integers(0, size[0] - int(height))), width, height
        if all(_apart(box, other) for other in boxes):
            boxes.append(box)
    return boxes


def _apart(one: Box, other: Box) -> bool:
    return any(abs((one[k] + one[k + 2] / 2) - (other[k] + other[k + 2] / 2)) > 0.4 * (one[k + 2] + other[k + 2])
               for k in (0, 1))  # fmt: skip


def _photo(size: tuple[int, int], boxes: Sequence[Box], labels: Sequence[int], rng: np.random.Generator) -> bytes:
    canvas = PilImage.fromarray(rng.integers(20, 110, (*size, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(canvas)
    for _ in range(4):
        x, y = rng.uniform(0, size[1]), rng.uniform(0, size[0])
        side = rng.uniform(0.06, 0.2) * size[1]
        pen.rectangle((x, y, x + side, y + side), fill=tuple(rng.integers(60, 230, 3).tolist()))
    for (x, y, width, height), label in zip(boxes, labels, strict=True):
        skin = rng.uniform(140, 240) * np.array([1, rng.uniform(0.7, 0.9), rng.uniform(0.5, 0.75)])
        pen.ellipse((x, y, x + width, y + height), fill=tuple(map(int, skin)))
        for eye in (0.3, 0.7):
            at, up, dot = x + eye * width, y + 0.35 * height, 0.07 * width
            pen.ellipse((at - dot, up - dot, at + dot, up + dot), fill=(20, 20, 30))
        # What covers the mouth of a face is a mask or only a shadow: the paler, the more often a mask.
        pale = rng.normal(0.75 if label == 0 else 0.45, 0.17)
        cover = np.clip(pale, 0, 1) * np.array([225, 235, 245])
        pen.rectangle((x + 0.2 * width, y + 0.55 * height, x + 0.8 * width, y + 0.9 * height),
                      fill=tuple(map(int, cover)))  # fmt: skip
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
