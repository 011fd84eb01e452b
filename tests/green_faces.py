"""A data set of drawn photos for the detector of `tiny_detector`: its faces are green rectangles."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image as Picture
from tiny_detector import build_detector, draw_faces

from components.shared.dataset.annotations import Annotations, Face, Image, images_digest, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo

Rectangle = tuple[int, int, int, int]
SIZE = (240, 320)
"""Height and width of the photos."""


def green_photo(boxes: Sequence[Rectangle], levels: Sequence[int] | None = None) -> bytes:
    """A PNG with green rectangles; `levels` are their greens, which are 255 times their scores."""
    buffer = io.BytesIO()
    Picture.fromarray(draw_faces(SIZE, list(boxes), list(levels) if levels else None)).save(buffer, "PNG")
    return buffer.getvalue()


def write_photos(
    folder: Path,
    photos: Mapping[str, bytes],
    faces: Mapping[str, Sequence[Face]],
    splits: Mapping[str, str | None] | None = None,
) -> Annotations:
    """Write `images` and `a.json` into a folder; photos without a split are in test, those without faces have none."""
    images = tuple(
        Image(
            number,
            name,
            SIZE[1],
            SIZE[0],
            tuple(faces.get(name, ())),
            split=(splits or {}).get(name, "test"),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        for number, (name, data) in enumerate(photos.items(), start=1)
    )
    with ArchiveWriter(folder / "images") as archive:
        for name in sorted(photos):
            archive.add(name, photos[name])
    annotations = Annotations(images, DatasetInfo(images_digest=images_digest(images)))
    write_annotations(annotations, folder / "a.json")
    return annotations


def write_detector(folder: Path, **changes: object) -> Path:
    """Write `model.onnx` into a folder and return the folder."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(build_detector(**changes))  # type: ignore[arg-type]
    return folder
