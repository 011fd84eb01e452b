"""The predictions of a detector: the boxes found in every image, as a CSV table with a row for each box."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.prediction_rows import PredictionRows
from serving.runtime.errors import InputError
from serving.runtime.output import whole_file

_BOX = ("image_id", "path", "x", "y", "width", "height", "score", "label")
_MODEL = ("threshold", "model", "version", "label_space", "task", "sha256", "images_digest")
_SCORE = "label/"


@dataclass(frozen=True, slots=True, eq=False)
class SearchedImage:
    """What a detector found in one image, by falling score.

    Attributes:
        image_id: that of the annotations.
        path: its name in the image archive.
        boxes: float64 (n, 4), x, y, width and height in upright pixels.
        scores: float32 (n, C), one for each label; the label of a box is that of its highest score.
        sha256: of the file, in hex; None where it is not known.
    """

    image_id: int
    path: str
    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]
    sha256: str | None = None

    @property
    def best(self) -> NDArray[np.float32]:
        """The score of each box, (n,): that of its label."""
        best: NDArray[np.float32] = self.scores.max(axis=1)
        return best

    @property
    def labels(self) -> NDArray[np.intp]:
        """The index of the label of each box, (n,)."""
        indices: NDArray[np.intp] = self.scores.argmax(axis=1)
        return indices


@dataclass(frozen=True, slots=True)
class Detections:
    """Predictions of a detector for every image of a split, also for those without a box.

    Boxes come from a low score on, so that precision can be told for every recall; those of `threshold` and more are
    what the model answers when it serves.

    Attributes:
        images: what was found in each image.
        labels: of the boxes, in the order of the scores.
        label_space: whose classes the labels are; "" where there is the one label `face`.
        threshold: the lowest score that the model serves.
        model: its name.
        version: the first digits of its sha256.
        images_digest: names the data set, as `info.images_digest` of its annotations; "" where it is not known.
    """

    task: ClassVar[str] = "detection"

    images: tuple[SearchedImage, ...]
    labels: tuple[str, ...]
    label_space: str
    threshold: float
    model: str
    version: str
    images_digest: str = ""


def write_detections(detections: Detections, path: Path) -> None:
    """Write the CSV as a `whole_file`: a row for each box, and one without a box for an image where nothing was found.

    `label` and `score` are the label of the highest score and that score. Scores have the shortest text that reads back
    as the same float32. Equal detections give equal bytes.
    """
    facts = [repr(float(detections.threshold)), detections.model, detections.version, detections.label_space]
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_BOX, *(_SCORE + label for label in detections.labels), *_MODEL])
        for image in detections.images:
            ending = [*facts, detections.task, image.sha256 or "", detections.images_digest]
            for row in _rows(image, detections.labels):
                writer.writerow([image.image_id, image.path, *row, *ending])


def _rows(image: SearchedImage, labels: tuple[str, ...]) -> Iterator[list[str]]:
    if not len(image.boxes):
        yield [""] * (len(_BOX) - 2 + len(labels))
    for box, scores, label in zip(image.boxes.tolist(), image.scores, image.labels.tolist(), strict=True):
        yield [*map(repr, box), str(scores[label]), labels[label], *map(str, scores)]


def parse_detections(table: PredictionRows) -> Detections:
    """Read the rows of a table of the task `detection`.

    Raises InputError naming the file when a column is missing, a value cannot be read, rows of one image are not
    together, or rows differ in model, version, threshold, label space or data set.
    """
    labels = tuple(name.removeprefix(_SCORE) for name in table.header if name.startswith(_SCORE))
    columns = [*_BOX, *(_SCORE + label for label in labels), *_MODEL]
    missing = [name for name in columns if name not in table.header]
    if missing or not labels or table.header != columns:
        wrong = f"no column {', '.join(missing)}" if missing else "its columns are others"
        raise InputError(f"{table.path}: {wrong}; the predict step writes {', '.join(_BOX)}, label/..., and {_MODEL}")
    threshold, model, version, space = map(table.one_value, _MODEL[:4])
    try:
        images = tuple(_image(list(rows), columns) for _, rows in groupby(table.rows, key=lambda row: row[:2]))
        lowest = float(threshold)
    except ValueError as error:
        raise InputError(f"{table.path}: {error}") from error
    if len({image.image_id for image in images}) < len(images):
        raise InputError(f"{table.path}: the rows of an image are not together; leave the file as predict wrote it")
    return Detections(images, labels, space, lowest, model, version, table.one_value("images_digest"))


def _image(rows: list[list[str]], columns: list[str]) -> SearchedImage:
    start, end = len(_BOX), columns.index(_MODEL[0])
    first = rows[0]
    found = rows if first[2] else []
    boxes = np.array([row[2:6] for row in found], object).astype(np.float64).reshape(-1, 4)
    scores = np.array([row[start:end] for row in found], object).astype(np.float32).reshape(-1, end - start)
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
        raise ValueError(f"image {first[0]}: a box or a score is not a finite number")
    return SearchedImage(int(first[0]), first[1], boxes, scores, first[columns.index("sha256")] or None)
