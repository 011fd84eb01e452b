"""Drawn test faces of persons, models that are better or worse on them, and their registered versions."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from register_models import write_model

from components.predict.predict import predict
from components.promote.outcome import Outcome
from components.promote.promote import promote
from components.register.register import register
from components.shared.dataset.annotations import Annotations, Face, Image, images_digest, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo
from components.shared.tracking.server import mlflow_client

STATES = ("worn", "incorrect", "absent")
GOOD = 0.1 * np.eye(3, dtype=np.float32)
"""Weights of `write_model` that are right on every drawn face: the class is the brightest of red, green and blue."""


def spoiled(share: float) -> NDArray[np.float32]:
    """Weights that take greenish faces of the first class for the second one: the more, the larger the share."""
    weights = GOOD.copy()
    weights[1, 1] *= 1 + share
    return weights


def write_faces(folder: Path, persons: int = 12, each: int = 5, attributes: Sequence[str] = STATES) -> Path:
    """Write `images` and `a.json` into a folder: faces of persons, whose color says their class."""
    random = np.random.default_rng(5)
    images, photos = [], {}
    for number in range(1, persons * each + 1):
        label = number % 3
        color = random.integers(60, 120, 3)
        color[label] = random.integers(125, 160)
        buffer = io.BytesIO()
        Picture.fromarray(np.broadcast_to(color.astype(np.uint8), (16, 12, 3)).copy()).save(buffer, "PNG")
        name = f"{number}.png"
        photos[name] = buffer.getvalue()
        face = Face(number, None, {"mask": attributes[label]})
        digest = hashlib.sha256(photos[name]).hexdigest()
        images.append(Image(number, name, 12, 16, (face,), person=f"p{number % persons}", split="test", sha256=digest))
    folder.mkdir(parents=True, exist_ok=True)
    with ArchiveWriter(folder / "images") as archive:
        for name in sorted(photos):
            archive.add(name, photos[name])
    data = tuple(images)
    write_annotations(Annotations(data, DatasetInfo(images_digest=images_digest(data))), folder / "a.json")
    return folder


class Registered:
    """A model file, its predictions of the drawn faces, and its version."""

    def __init__(self, faces: Path, folder: Path, name: str, weights: NDArray[np.float32], **card: Any) -> None:
        self.faces, self.folder, self.name = faces, folder, name
        self.model = write_model(folder / "model", weights=weights, **card)
        predict(self.model, faces / "images", faces / "a.json", folder / "p.csv")
        self.version = register(self.model, name=name, predictions=folder / "p.csv").version

    def promote(self, **options: Any) -> Outcome:
        return promote(
            self.model,
            self.folder / "p.csv",
            self.faces / "images",
            self.faces / "a.json",
            self.folder / "report.html",
            **{"name": self.name, "version": self.version} | options,
        )


def aliases(name: str) -> dict[str, str]:
    return dict(mlflow_client().get_registered_model(name).aliases)


def champion(name: str) -> str:
    return aliases(name).get("champion", "")
