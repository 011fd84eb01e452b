"""Data sets to report on, and what a page shows."""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from html_page import Page
from PIL import Image as Picture

from components.data_report.data_report import data_report
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo

LIMIT = 2_000_000
MASKS = ("worn", "incorrect", "absent")


def jpeg(height: int = 40, width: int = 30, seed: int = 0, exif: bytes = b"") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "JPEG", quality=80, exif=exif)
    return buffer.getvalue()


_PLAIN = jpeg()
_CONTENTS: dict[str, bytes] = {}


def content(number: int, picture: bytes = _PLAIN) -> str:
    """The sha256 of a file that `write` stores: the picture, and the number behind its end."""
    data = picture + number.to_bytes(8)
    digest = hashlib.sha256(data).hexdigest()
    _CONTENTS[digest] = data
    return digest


def image(number: int, split: str | None = "train", **fields: Any) -> Image:
    """An image of its own person with one face that wears a mask, unlike every other image."""
    attributes = fields.pop("attributes", {"mask": "worn"})
    print_ = np.random.default_rng(number).integers(0, 256, 16, dtype=np.uint8).tobytes().hex()
    defaults: dict[str, Any] = {
        "file_name": f"{number:03d}.jpg",
        "width": 30,
        "height": 40,
        "faces": (Face(number, fields.pop("box", (5.0, 10.0, 15.0, 20.0)), attributes),),
        "person": f"p{number}",
        "sha256": content(number),
        "dhash": print_,
    }
    return Image(id=number, split=split, **(defaults | fields))


def write(
    folder: Path, images: Sequence[Image], info: Mapping[str, Any] | None = None, contents: Mapping[str, bytes] = {}
) -> None:
    with ArchiveWriter(folder / "images") as writer:
        for one in images:
            if data := contents.get(one.file_name, _CONTENTS.get(one.sha256 or "", _PLAIN)):
                writer.add(one.file_name, data)
    recorded = DatasetInfo.model_validate({"leaks": False, **(info or {})})
    write_annotations(Annotations(tuple(images), recorded), folder / "a.json")


def report(folder: Path, space: str = "mask") -> tuple[dict[str, float], Page]:
    figures = data_report(folder / "images", folder / "a.json", folder / "report", label_space=space)
    text = (folder / "report").read_bytes()
    page = Page(text.decode())
    assert page.faults == [] and len(text) < LIMIT
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    return figures, page


def cells(page: Page) -> str:
    return re.sub(r"\s+", " ", " ".join(page.text))


def hand_made() -> list[Image]:
    """Two splits and an image without one; 3 worn, 2 incorrect, no absent, one face without a label, one image bare."""
    near = image(1).dhash or ""
    flipped = f"{int(near[0], 16) ^ 1:x}" + near[1:]
    return [
        image(1, attributes={"mask": "worn", "age": 20, "gender": "male", "place": "here"}),
        image(2, "val", person="p1", attributes={"mask": "worn", "age": 60}),
        image(3, "val", dhash=flipped, attributes={"mask": "incorrect", "age": 29, "place": "there"}),
        image(4, "train", sha256=content(2), attributes={"mask": "with_mask"}),
        image(5, "train", file_name="deep.er/005.PNG", person=None, box=None, attributes={"mask": "incorrect"}),
        image(6, None, file_name="bare", faces=(), trainable=False, fold=1),
        image(7, "train", box=(0.0, 0.0, 30.0, 40.0), attributes={"age": 31}),
    ]
