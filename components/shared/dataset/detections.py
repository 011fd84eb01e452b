"""The predictions of a detector: the boxes found in every image, as a CSV table with a row for each box.

A detector of several labels has two lists of boxes for an image. `served` are those that the endpoint gives: each box
under its best label, suppressed by the others of that label. They tell precision and recall at a threshold. Average
precision asks for a list of every label of its own, as COCO's results are and as ultralytics validates (`multi_label`):
`by_label` has a box under each label that it has a score of, suppressed within the label. A box that is 0.5 worn and
0.4 absent is then also an answer to "where is absent?", below those that are surer. With one label both are the same
list, which is written once.
"""

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
_LIST, _SERVED, _BY_LABEL = "list", "served", "by_label"
_MODEL = ("threshold", "model", "version", "label_space", "task", "sha256", "images_digest")
_SCORE = "label/"


@dataclass(frozen=True, slots=True, eq=False)
class FoundBoxes:
    """Boxes of one image, each under a label, by falling score.

    Attributes:
        boxes: float64 (n, 4), x, y, width and height in upright pixels.
        scores: float32 (n, C), one for each label.
        labels: int (n,), the index of the label that a box is found under.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: NDArray[np.intp]

    @property
    def score(self) -> NDArray[np.float32]:
        """The score of each box, (n,): that of its label."""
        return self.scores[np.arange(len(self.labels)), self.labels]


@dataclass(frozen=True, slots=True, eq=False)
class SearchedImage:
    """What a detector found in one image.

    Attributes:
        image_id: that of the annotations.
        path: its name in the image archive.
        served: the boxes that the endpoint gives, each under its best label.
        by_label: the boxes under every label, for average precision; of a detector of one label the same as `served`.
        sha256: of the file, in hex; None where it is not known.
    """

    image_id: int
    path: str
    served: FoundBoxes
    by_label: FoundBoxes
    sha256: str | None = None


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
    """Write the CSV as a `whole_file`, see `detection_rows`. Equal detections give equal bytes."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(detection_columns(detections.labels))
        writer.writerows(detection_rows(detections))


def detection_columns(labels: tuple[str, ...]) -> list[str]:
    """Return the columns of the table: every score is called `label/<label>`."""
    lists = [_LIST] if len(labels) > 1 else []
    return [*_BOX, *lists, *(_SCORE + label for label in labels), *_MODEL]


def detection_rows(detections: Detections) -> Iterator[list[str]]:
    """Yield a row for each box, and one without a box for an image where nothing was found.

    `label` is the label that the box is found under and `score` its score. With several labels the column `list` says
    of which list a row is, `served` or `by_label`. Scores have the shortest text that reads back as the same float32.
    """
    facts = [repr(float(detections.threshold)), detections.model, detections.version, detections.label_space]
    for image in detections.images:
        ending = [*facts, detections.task, image.sha256 or "", detections.images_digest]
        for row in _rows(image, detections.labels):
            yield [str(image.image_id), image.path, *row, *ending]


def _rows(image: SearchedImage, labels: tuple[str, ...]) -> Iterator[list[str]]:
    several = len(labels) > 1
    lists = {_SERVED: image.served, _BY_LABEL: image.by_label} if several else {_SERVED: image.served}
    if not any(len(found.boxes) for found in lists.values()):
        yield [""] * (len(_BOX) - 2 + several + len(labels))
    for name, found in lists.items():
        for box, scores, label in zip(found.boxes.tolist(), found.scores, found.labels.tolist(), strict=True):
            own = [*map(repr, box), str(scores[label]), labels[label]]
            yield [*own, *([name] if several else []), *map(str, scores)]


def parse_detections(table: PredictionRows) -> Detections:
    """Read the rows of a table of the task `detection`.

    Raises InputError naming the file when a column is missing, a value cannot be read, rows of one image are not
    together, or rows differ in model, version, threshold, label space or data set.
    """
    labels = tuple(name.removeprefix(_SCORE) for name in table.header if name.startswith(_SCORE))
    columns = detection_columns(labels)
    missing = [name for name in columns if name not in table.header]
    if missing or not labels or table.header != columns:
        wrong = f"no column {', '.join(missing)}" if missing else "its columns are others"
        raise InputError(f"{table.path}: {wrong}; the predict step writes {', '.join(_BOX)}, label/..., and {_MODEL}")
    threshold, model, version, space = map(table.one_value, _MODEL[:4])
    try:
        images = tuple(_image(list(rows), labels) for _, rows in groupby(table.rows, key=lambda row: row[:2]))
        lowest = float(threshold)
    except ValueError as error:
        raise InputError(f"{table.path}: {error}") from error
    if len({image.image_id for image in images}) < len(images):
        raise InputError(f"{table.path}: the rows of an image are not together; leave the file as predict wrote it")
    return Detections(images, labels, space, lowest, model, version, table.one_value("images_digest"))


def _image(rows: list[list[str]], labels: tuple[str, ...]) -> SearchedImage:
    columns = detection_columns(labels)
    first = rows[0]
    sha256 = first[columns.index("sha256")] or None
    found = rows if first[2] else []
    if len(labels) == 1:
        served = _boxes(found, columns, labels)
        return SearchedImage(int(first[0]), first[1], served, served, sha256)
    at = columns.index(_LIST)
    other = sorted({row[at] for row in found} - {_SERVED, _BY_LABEL})
    if other:
        raise ValueError(f"image {first[0]}: unknown {_LIST} '{other[0]}'; expected {_SERVED} or {_BY_LABEL}")
    served, by_label = (
        _boxes([row for row in found if row[at] == name], columns, labels) for name in (_SERVED, _BY_LABEL)
    )
    return SearchedImage(int(first[0]), first[1], served, by_label, sha256)


def _boxes(rows: list[list[str]], columns: list[str], labels: tuple[str, ...]) -> FoundBoxes:
    end = columns.index(_MODEL[0])
    start = end - len(labels)
    boxes = np.array([row[2:6] for row in rows], object).astype(np.float64).reshape(-1, 4)
    scores = np.array([row[start:end] for row in rows], object).astype(np.float32).reshape(-1, len(labels))
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
        raise ValueError(f"image {rows[0][0]}: a box or a score is not a finite number")
    names = [row[_BOX.index("label")] for row in rows]
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise ValueError(f"image {rows[0][0]}: unknown label '{unknown[0]}'; the detector has {', '.join(labels)}")
    return FoundBoxes(boxes, scores, np.array([labels.index(name) for name in names], np.intp))
