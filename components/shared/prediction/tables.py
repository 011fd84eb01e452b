"""What models said, as a table of CSV, Parquet or JSON that is written part by part."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from components.shared.dataset.detections import Detections, detection_columns, detection_rows
from components.shared.dataset.predictions import (
    NOTICE_COLUMNS,
    Predictions,
    notice_cells,
    prediction_columns,
    prediction_rows,
)
from serving.runtime.card import Head
from serving.runtime.errors import InputError
from serving.runtime.output import whole_file
from serving.runtime.predictor import FaceResult
from serving.runtime.validation import known

Rows = Iterator[list[str]]

_BOX = ("x", "y", "width", "height")
_FACE = ("image_id", "face_id", "path", *_BOX, "detector_score")
_MODEL = ("model", "version", "task", "sha256", "images_digest")
_INTEGERS = ("image_id", "face_id", "class_id")
_TEXTS = ("path", "label", "list", "label_space", "notify_reason", *_MODEL)
_ROW_GROUP = 2**16


@dataclass(frozen=True, slots=True)
class SeenPhoto:
    """A photo that a composite has seen, and the faces in it.

    Attributes:
        image_id: its number in the data.
        path: its name in the data.
        faces: none where it found none.
        sha256: of the file, in hex; None where it is not known.
    """

    image_id: int
    path: str
    faces: tuple[FaceResult, ...]
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """What a composite says of photos: every face that it found, with all heads.

    Attributes:
        photos: also those without a face.
        heads: those that a face may have.
        model: the composite's name.
        version: its version.
        images_digest: names the data set; "" where it is not known.
    """

    task: ClassVar[str] = "faces"

    photos: tuple[SeenPhoto, ...]
    heads: tuple[Head, ...]
    model: str
    version: str
    images_digest: str = ""


Part = Predictions | Detections | FoundFaces
"""Some of the rows of a table."""


def columns_of(part: Part) -> list[str]:
    """Return the columns of the table that a part belongs to."""
    if isinstance(part, Predictions):
        return prediction_columns(part.space, notices=part.notices is not None)
    if isinstance(part, Detections):
        return detection_columns(part.labels)
    heads = (column for head in part.heads for column in _columns_of_head(head))
    return [*_FACE, *heads, *NOTICE_COLUMNS, *_MODEL]


def rows_of(part: Part) -> Rows:
    """Yield the rows of a part as text, "" for what is not known."""
    if isinstance(part, Predictions):
        return prediction_rows(part)
    return detection_rows(part) if isinstance(part, Detections) else _rows_of_faces(part)


def write_table(parts: Iterable[Part], path: Path, format: str = "csv") -> int:  # noqa: A002
    """Write the parts of one table one after the other, as a `whole_file`; at most one part is in memory.

    CSV is the table of the step predict, which evaluate reads. Parquet has the same columns with numbers as numbers,
    and null for what is not known. JSON is a list with a line for each row; its box and its probabilities are nested.
    Equal parts give equal bytes.

    Args:
        parts: of one model and one data set, at least one.
        path: the file.
        format: one of FORMATS.

    Returns:
        The number of rows.

    Raises:
        InputError: the format is unknown, there is no part, or parts have other columns than the first.
    """
    if format not in FORMATS:
        raise InputError(f"unknown format '{format}'{known(format, FORMATS)}")
    rest = iter(parts)
    first = next(rest, None)
    if first is None:
        raise InputError(f"{path}: there is nothing to write, no picture was predicted")
    columns = columns_of(first)
    with whole_file(path) as partial:
        return FORMATS[format](partial, columns, _same_columns(chain([first], rest), columns))


def _same_columns(parts: Iterable[Part], columns: list[str]) -> Iterator[Rows]:
    for part in parts:
        if columns_of(part) != columns:
            raise InputError("parts of one table have different columns: they are of several models; predict again")
        yield rows_of(part)


def _write_csv(file: Path, columns: list[str], parts: Iterable[Rows]) -> int:
    count = 0
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for rows in parts:
            for row in rows:
                writer.writerow(row)
                count += 1
    return count


def _write_json(file: Path, columns: list[str], parts: Iterable[Rows]) -> int:
    count = 0
    with file.open("w", encoding="utf-8") as stream:
        stream.write("[")
        for rows in parts:
            for row in rows:
                text = json.dumps(_record(columns, row), ensure_ascii=False, allow_nan=False)
                stream.write(f"{',' if count else ''}\n{text}")
                count += 1
        stream.write("\n]\n")
    return count


def _write_parquet(file: Path, columns: list[str], parts: Iterable[Rows]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    count = 0
    schema = pa.schema([(name, _arrow_type(name)) for name in columns])
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in _row_groups(parts):
            values = (
                [_value(name, text) for text in column]
                for name, column in zip(columns, zip(*rows, strict=True), strict=True)
            )
            arrays = [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count


def _row_groups(parts: Iterable[Rows]) -> Iterator[list[list[str]]]:
    """Yield the rows in groups of one size, whatever the parts, so that equal rows give equal files."""
    group: list[list[str]] = []
    for row in chain.from_iterable(parts):
        group.append(row)
        if len(group) == _ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


FORMATS: Mapping[str, Callable[[Path, list[str], Iterable[Rows]], int]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "json": _write_json,
}
"""Format -> what writes the columns and the rows of the parts into a file and counts the rows."""


def format_of(path: Path) -> str:
    """Return the format that the ending of a file's name says, csv where it says none."""
    suffix = path.suffix.lower().removeprefix(".")
    return suffix if suffix in FORMATS else "csv"


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    if "/" in name or name == "score" or name.endswith(("_score", "notify_confidence")):
        # A probability, whatever the label is called, or one of them once more. The score of a given face is a float64.
        return pa.float64() if name == "detector_score" else pa.float32()
    if name in _INTEGERS or name.endswith("_class_id"):
        return pa.int64()
    if name in _TEXTS or name.endswith("_label"):
        return pa.string()
    return pa.bool_() if name == "notify" else pa.float64()


def _value(name: str, text: str) -> int | float | str | bool | None:
    """Return what a cell of a column says, None where it is empty."""
    if not text:
        return None
    if "/" in name:
        return float(text)
    if name in _INTEGERS or name.endswith("_class_id"):
        return int(text)
    if name in _TEXTS or name.endswith("_label"):
        return text
    return text == "true" if name == "notify" else float(text)


def _record(columns: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """Return a row as an object: `box` is a list or null, and `probabilities` are by head and label."""
    record: dict[str, Any] = {}
    box: list[Any] = []
    probabilities: dict[str, dict[str, Any]] = {}
    for name, text in zip(columns, row, strict=True):
        value = _value(name, text)
        head, slash, label = name.partition("/")
        if name in _BOX:
            box.append(value)
            record["box"] = box if len(box) == len(_BOX) and None not in box else None
        elif slash:
            record["probabilities"] = probabilities
            if value is not None:
                probabilities.setdefault(head, {})[label] = value
        else:
            record[name] = value
    return record


def _columns_of_head(head: Head) -> list[str]:
    named = [f"{head.name}_{column}" for column in ("class_id", "label", "score")]
    return [*named, *(f"{head.name}/{label}" for label in head.labels)]


def _rows_of_faces(part: FoundFaces) -> Rows:
    """Yield a row for each face, and one without a box for a photo without a face."""
    for photo in part.photos:
        beginning = [str(photo.image_id), "", photo.path]
        ending = [part.model, part.version, part.task, photo.sha256 or "", part.images_digest]
        if not photo.faces:
            width = sum(3 + len(head.labels) for head in part.heads)
            yield [*beginning, *[""] * (len(_BOX) + 1 + width + len(NOTICE_COLUMNS)), *ending]
        for number, face in enumerate(photo.faces, start=1):
            box = [repr(float(value)) for value in face.box] if face.box else [""] * len(_BOX)
            heads = (cell for head in part.heads for cell in _cells_of_head(head, face))
            beginning[1] = str(number)
            yield [*beginning, *box, _text(face.score), *heads, *notice_cells(face.notice), *ending]


def _cells_of_head(head: Head, face: FaceResult) -> list[str]:
    probabilities = face.heads.get(head.name)
    if probabilities is None:
        return [""] * (3 + len(head.labels))
    values = [probabilities[label] for label in head.labels]
    best = max(range(len(values)), key=values.__getitem__)
    return [str(best), head.labels[best], _text(values[best]), *map(_text, values)]


def _text(value: float | None) -> str:
    """Return a probability as the shortest text that reads back as the same float32."""
    return "" if value is None else str(np.float32(value))
