"""Drawn pictures whose faces are green rectangles, data sets of them, and detectors that find them."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from tiny_detector import build_detector, draw_faces

from components.detect_faces.adopt import adopt_detectors
from components.detect_faces.choose import choose_faces
from components.detect_faces.detect import detect_faces
from components.detect_faces.detections import FoundFaces, read_detections
from components.shared.dataset.annotations import Annotations, Box, Face, Image, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter

SIZE = (200, 300)
"""Height and width of a picture."""

Boxes = Sequence[tuple[int, int, int, int]]


def png(boxes: Boxes, levels: list[int] | None = None, size: tuple[int, int] = SIZE) -> bytes:
    """A picture with a face in every box; `levels` are 255 times their scores."""
    return encoded(draw_faces(size, list(boxes), levels))


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def image(number: int, *faces: Face | Box | None, data: bytes = b"", **facts: Any) -> Image:
    """An image of a data set with its annotated faces: a box, None for one without, or the face itself."""
    made = tuple(
        face if isinstance(face, Face) else Face(100 * number + index, face, {"gender": "male"})
        for index, face in enumerate(faces)
    )
    facts = {"width": SIZE[1], "height": SIZE[0], "sha256": hashlib.sha256(data).hexdigest() if data else None} | facts
    return Image(number, f"{number}.png", faces=made, **facts)


class DataSet:
    """Pictures and annotations below a folder, and the steps on them."""

    def __init__(self, work: Path, pictures: Mapping[str, bytes], images: Sequence[Image] = ()) -> None:
        self.work = work
        self.images, self.annotations = work / "images", (work / "annotations.json") if images else None
        with ArchiveWriter(self.images) as archive:
            for name, data in pictures.items():
                archive.add(name, data)
        if self.annotations:
            write_annotations(Annotations(tuple(images)), self.annotations)

    def adopt(self, *chain: Any, name: str = "chain") -> Path:
        """The folder of a chain; GREEN in place of an address is the tiny detector."""
        model = self.work / "green.onnx"
        if not model.exists():
            model.write_bytes(build_detector())
        adopt_detectors(self.work / name, [_with_model(member, model) for member in chain])
        return self.work / name

    def detect(self, *chain: Any, name: str = "found", shard: int = -1, per: int = 1000, **options: Any) -> Path:
        folder = self.work / f"chain-of-{name}"
        detectors = folder if folder.exists() else self.adopt(*chain, name=folder.name)
        found = self.work / f"{name}-{shard}.jsonl"
        self.counts = detect_faces(
            self.images,
            detectors,
            found,
            annotations=self.annotations,
            shard=shard,
            images_per_shard=per,
            options=options,
        )
        return found

    def choose(self, *found: Path, **options: Any) -> Annotations:
        self.listing, self.report, output = (self.work / name for name in ("listing.json", "faces.html", "chosen.json"))
        self.metrics = choose_faces(
            self.images, found, output, self.listing, self.report, annotations=self.annotations, options=options
        )
        return read_annotations(output)


GREEN = "green"


def _with_model(member: Any, model: Path) -> Any:
    if member == GREEN:
        return {"onnx": str(model)}
    if isinstance(member, dict) and isinstance(member.get("onnx"), dict):
        return {"onnx": {"model": str(model)} | member["onnx"]}
    return member


def found_in(path: Path) -> dict[str, FoundFaces]:
    """What a file of detections says, by the stem of the image."""
    return {faces.file_name.removesuffix(".png"): faces for faces in read_detections([path])[1]}
