"""The predictions table: one CSV row per face, with every probability of every head."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Box
from components.shared.dataset.label_spaces import LabelSpace, label_space
from serving.runtime.errors import InputError, NotFoundError

_FACE = ("image_id", "face_id", "path", "x", "y", "width", "height", "detector_score", "label", "score")
_MODEL = ("model", "version", "label_space")


@dataclass(frozen=True, slots=True)
class PredictedFace:
    """The face that a row is about; `box` is x, y, width, height in upright pixels, None for the whole image."""

    image_id: int
    face_id: int
    path: str
    box: Box | None


@dataclass(frozen=True)
class Predictions:
    """Faces, and per head float32 (N, K) probabilities in the same order."""

    faces: tuple[PredictedFace, ...]
    heads: dict[str, NDArray[np.float32]]
    space: LabelSpace
    model: str
    version: str

    def class_probabilities(self) -> NDArray[np.floating]:
        """Probabilities of the classes that metrics count, (N, len(space.class_labels))."""
        return self.space.class_probabilities(self.heads)


def _columns(space: LabelSpace) -> list[str]:
    return [*_FACE, *(f"{head.name}/{label}" for head in space.heads for label in head.labels), *_MODEL]


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the CSV; it appears whole or not at all.

    `label` and `score` are the most probable class and its probability. Probabilities have the
    shortest text that reads back as the same float32. Equal predictions give equal bytes.
    """
    space = predictions.space
    joint = predictions.class_probabilities()
    best = joint.argmax(axis=1) if len(joint) else np.zeros(0, np.int64)
    table = np.concatenate([predictions.heads[head.name] for head in space.heads], axis=1, dtype=np.float32)
    ending = [predictions.model, predictions.version, space.name]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_columns(space))
            for at, face in enumerate(predictions.faces):
                box = [repr(float(value)) for value in face.box] if face.box else [""] * 4
                known = [face.image_id, face.face_id, face.path, *box, ""]
                chosen = [space.class_labels[best[at]], str(np.float32(joint[at, best[at]]))]
                writer.writerow([*known, *chosen, *map(str, table[at]), *ending])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_predictions(path: Path) -> Predictions:
    """Read the CSV.

    Raises NotFoundError when there is no such file; InputError naming the file when a column is missing,
    a value cannot be read, or rows differ in model, version or label space.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such predictions file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}") from error
    if len(rows) < 2:
        raise InputError(f"{path}: there is no prediction in this file")
    header = rows.pop(0)
    missing = [name for name in (*_FACE, *_MODEL) if name not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; the predict step writes {', '.join(_FACE + _MODEL)}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(f"{path}: line {number} has {len(row)} values, the header has {len(header)}")
    model, version, space_name = (_one_value(rows, header.index(name), name, path) for name in _MODEL)
    space = label_space(space_name)
    if header != _columns(space):
        raise InputError(
            f"{path}: its columns are not those of label space '{space.name}': {', '.join(_columns(space))}"
        )
    start = len(_FACE)
    try:
        faces = tuple(_face(row) for row in rows)
        table = np.array([row[start : -len(_MODEL)] for row in rows]).astype(np.float32)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    heads, column = {}, 0
    for head in space.heads:
        heads[head.name] = table[:, column : column + len(head.labels)]
        column += len(head.labels)
    return Predictions(faces, heads, space, model, version)


def _one_value(rows: Sequence[list[str]], column: int, name: str, path: Path) -> str:
    values = sorted({row[column] for row in rows})
    if len(values) > 1:
        raise InputError(f"{path}: column '{name}' has several values ({', '.join(values[:5])}): one model per file")
    return values[0]


def _face(row: list[str]) -> PredictedFace:
    x, y, width, height = row[3:7]
    box = (float(x), float(y), float(width), float(height)) if x else None
    return PredictedFace(int(row[0]), int(row[1]), row[2], box)
