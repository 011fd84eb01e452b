"""The predictions table: one CSV row per face; which columns it has depends on the task of the model."""

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Box
from components.shared.dataset.detections import Detections, parse_detections
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.prediction_rows import PredictionRows, read_rows
from components.shared.dataset.text import some
from serving.runtime.errors import InputError
from serving.runtime.notice import REASONS, Notice
from serving.runtime.output import whole_file
from serving.runtime.validation import known

_FACE = ("image_id", "face_id", "path", "x", "y", "width", "height", "detector_score", "label", "score")
_MODEL = ("model", "version", "label_space")
_ADDED = ("task", "class_id", "sha256", "images_digest", "brightness")
"""Columns that tables of earlier versions lack."""
NOTICE_COLUMNS = ("notify", "notify_reason", "notify_confidence")
"""Of models that judge masks; tables of earlier versions lack them too."""
_NOTIFY = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class PredictedFace:
    """The face of a row.

    `box` is x, y, width, height in upright pixels, None for the whole image; `sha256` that of the picture, None where
    it is not known. `score` is the detector's, None for a face that no detector scored. `brightness` is the mean luma,
    0 to 255, of what the model saw, None in tables of earlier versions.
    """

    image_id: int
    face_id: int
    path: str
    box: Box | None
    sha256: str | None = None
    score: float | None = None
    brightness: float | None = None


@dataclass(frozen=True)
class Predictions:
    """Predictions of a classifier: faces, and per head float32 (N, K) probabilities in the same order.

    `images_digest` names the data set, as `info.images_digest` of its annotations; "" where it is not known. `notices`
    are about the masks of the faces, in the same order; None where the model does not judge masks.
    """

    task: ClassVar[str] = "classification"

    faces: tuple[PredictedFace, ...]
    heads: dict[str, NDArray[np.float32]]
    space: LabelSpace
    model: str
    version: str
    images_digest: str = ""
    notices: tuple[Notice, ...] | None = None

    def class_probabilities(self) -> NDArray[np.floating]:
        """Return the probabilities of the classes that metrics count, (N, len(space.class_labels))."""
        return self.space.class_probabilities(self.heads)


def prediction_columns(space: LabelSpace, *, notices: bool = False) -> list[str]:
    """Return the columns of the table: every probability is called `<head>/<label>`; with `notices` theirs too."""
    probabilities = [f"{head.name}/{label}" for head in space.heads for label in head.labels]
    return [*_FACE, *probabilities, *_MODEL, *_ADDED, *(NOTICE_COLUMNS if notices else ())]


def notice_cells(notice: Notice | None) -> list[str]:
    """Return the cells of NOTICE_COLUMNS, empty ones where there is no notice."""
    if notice is None:
        return [""] * len(NOTICE_COLUMNS)
    return [str(notice.notify).lower(), notice.reason or "", str(np.float32(notice.confidence))]


def prediction_rows(predictions: Predictions) -> Iterator[list[str]]:
    """Yield the row of each face, "" for what is not known.

    `label`, `class_id` and `score` are the most probable class, its index and its probability. Probabilities have the
    shortest text that reads back as the same float32.
    """
    space = predictions.space
    joint = predictions.class_probabilities()
    best = joint.argmax(axis=1)
    table = np.concatenate([predictions.heads[head.name] for head in space.heads], axis=1, dtype=np.float32)
    ending = [predictions.model, predictions.version, space.name, predictions.task]
    for row, face in enumerate(predictions.faces):
        box = [repr(float(value)) for value in face.box] if face.box else [""] * 4
        score = "" if face.score is None else repr(float(face.score))
        label = [space.class_labels[best[row]], str(np.float32(joint[row, best[row]]))]
        brightness = "" if face.brightness is None else f"{face.brightness:.2f}"
        added = [str(best[row]), face.sha256 or "", predictions.images_digest, brightness]
        ids = [str(face.image_id), str(face.face_id), face.path]
        notice = notice_cells(predictions.notices[row]) if predictions.notices is not None else []
        yield [*ids, *box, score, *label, *map(str, table[row]), *ending, *added, *notice]


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the CSV as a `whole_file`, see `prediction_rows`. Equal predictions give equal bytes."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(prediction_columns(predictions.space, notices=predictions.notices is not None))
        writer.writerows(prediction_rows(predictions))


def read_predictions(path: Path) -> Predictions | Detections:
    """Read the CSV. One of an earlier version, without a column `task`, is of a classifier.

    Raises NotFoundError when there is no such file; InputError naming the file when a column is missing,
    a value cannot be read, the task is unknown, or rows differ in task, model, version or label space.
    """
    table = read_rows(path)
    task = table.one_value("task") or "classification"
    if task not in _READERS:
        raise InputError(f"{path}: unknown task '{task}'{known(task, _READERS)}")
    return _READERS[task](table)


def _parse_classification(table: PredictionRows) -> Predictions:
    path, header, rows = table.path, table.header, table.rows
    if not {*_FACE, *_MODEL} <= set(header):
        known_names = [*_FACE, *_MODEL, *_ADDED, *NOTICE_COLUMNS, *(name for name in header if "/" in name)]
        told = _differences(header, known_names, (*_FACE, *_MODEL))
        raise InputError(f"{path}: {told}; the predict step writes {', '.join(_FACE + _MODEL)}")
    model, version, space_name = map(table.one_value, _MODEL)
    space = label_space(space_name)
    judged = NOTICE_COLUMNS[0] in header
    columns = prediction_columns(space, notices=judged)
    expected = [name for name in columns if name in header or name not in _ADDED]
    if header != expected:
        told = _differences(header, columns, expected) or "they are in another order, or one is there twice"
        raise InputError(
            f"{path}: its columns are not those of label space '{space.name}': {told}; the predict step writes "
            f"{', '.join(columns)}"
        )
    start, end = len(_FACE), columns.index(_MODEL[0])
    try:
        added = zip(table.column("sha256"), table.column("brightness"), strict=True)
        faces = tuple(_face(row, *values) for row, values in zip(rows, added, strict=True))
        probabilities = np.array([row[start:end] for row in rows]).astype(np.float32)
        notices = tuple(map(_notice, *map(table.column, NOTICE_COLUMNS))) if judged else None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    heads, column = {}, 0
    for head in space.heads:
        heads[head.name] = probabilities[:, column : column + len(head.labels)]
        column += len(head.labels)
    return Predictions(faces, heads, space, model, version, table.one_value("images_digest"), notices)


def _differences(header: Collection[str], allowed: Collection[str], expected: Collection[str]) -> str:
    """Return which columns of a header are not allowed, and which expected ones it lacks; "" where none."""
    unexpected = [name for name in header if name not in allowed]
    missing = [name for name in expected if name not in header]
    parts = [f"no column {some(missing)}"] if missing else []
    return ", ".join([*parts, *([f"unexpected column {some(unexpected)}"] if unexpected else [])])


_READERS: Mapping[str, Callable[[PredictionRows], Predictions | Detections]] = {
    "classification": _parse_classification,
    "detection": parse_detections,
}


def _notice(notify: str, reason: str, confidence: str) -> Notice:
    named = next((one for one in REASONS if one == reason), None)
    if notify not in _NOTIFY or (named or "") != reason:
        expected = f"{' or '.join(_NOTIFY)}, and for true one of {', '.join(REASONS)}"
        raise ValueError(f"notify '{notify}' and notify_reason '{reason}'; expected {expected}")
    return Notice(_NOTIFY[notify], named, float(confidence))


def _face(row: list[str], sha256: str, brightness: str) -> PredictedFace:
    x, y, width, height, score = row[3:8]
    box = (float(x), float(y), float(width), float(height)) if x else None
    numbers = (float(text) if text else None for text in (score, brightness))
    return PredictedFace(int(row[0]), int(row[1]), row[2], box, sha256 or None, *numbers)
