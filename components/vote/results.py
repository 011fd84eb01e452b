"""Result files that vote: `ImageID,ans`, probabilities as predecessors wrote them, and predictions tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.answers import ANSWER, ID, parse_named_rows, read_class_numbers
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.predictions import Predictions, read_predictions
from components.shared.dataset.table import Table, folded, parse_table
from components.shared.dataset.text import read_text, some
from serving.runtime.errors import InputError

_ATTRIBUTES = "all"
_SEVEN = ("m_out_0", "m_out_1", "m_out_2", "g_out", "a_out_0", "a_out_1", "a_out_2")
_EIGHT = 8
_INDEX = re.compile(r"column 1|Unnamed: 0|index", re.IGNORECASE)
_OURS = {"image_id", "face_id", "path", "label_space"}
_EXPECTED = (
    f"{ID} and {ANSWER}, a predictions table, {ID} with {', '.join(_SEVEN)}, or {ID} with eight probabilities "
    "(3 mask, 2 gender, 3 age)"
)


@dataclass(frozen=True)
class Answers:
    """The classes that a file gives.

    Attributes:
        path: the file.
        ids: each once, in the order of the file.
        classes: int (N,), class numbers.
        labels: of the classes; empty where the file does not tell them.
    """

    path: Path
    ids: tuple[str, ...]
    classes: NDArray[np.intp]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probabilities:
    """The probabilities that a file gives.

    Attributes:
        path: the file.
        ids: each once, in the order of the file.
        space: the label space.
        heads: head name -> float64 (N, number of labels).
    """

    path: Path
    ids: tuple[str, ...]
    space: LabelSpace
    heads: dict[str, NDArray[np.float64]]


def read_answers(path: Path) -> Answers:
    """Read the class numbers of a table with ImageID and ans, or of a predictions table of a classifier.

    In a predictions table a face is called by the path of its picture; where a picture has several faces, by its path,
    `#` and the number of the face.

    Raises NotFoundError when there is no such file; InputError naming the file when it is none of these tables, an id
    occurs twice, or a class is no number.
    """
    table = _table(path)
    if set(table.header) >= _OURS:
        predictions = _predictions(path)
        best = predictions.class_probabilities().argmax(axis=1)
        return Answers(path, _faces(predictions), best, predictions.space.class_labels)
    numbers = read_class_numbers(path)
    return Answers(path, tuple(numbers), np.array(list(numbers.values()), np.intp))


def read_probabilities(path: Path) -> Probabilities:
    """Read the probabilities of a predictions table of a classifier, or of a table of seven or eight columns.

    The seven are `m_out_0..2`, `g_out` (the probability of female) and `a_out_0..2`. Of eight the order counts: three
    of mask, two of gender, three of age; `ans` and an index in front are ignored. The probabilities of an attribute
    are divided by their sum.

    Raises NotFoundError when there is no such file; InputError naming the file when it is none of these tables, an id
    occurs twice, or a number is not a probability.
    """
    table = _table(path)
    if set(table.header) >= _OURS:
        predictions = _predictions(path)
        heads = {name: values.astype(np.float64) for name, values in predictions.heads.items()}
        return Probabilities(path, _faces(predictions), predictions.space, heads)
    table = parse_named_rows(read_text(str(path)), str(path))
    values = _attributes(table, path)
    space, heads, start = label_space(_ATTRIBUTES), {}, 0
    for head in space.heads:
        part = values[:, start : start + len(head.labels)]
        start += len(head.labels)
        sums = part.sum(axis=1, keepdims=True)
        if not np.all(sums > 0):
            row = table.rows[int(np.flatnonzero(sums[:, 0] <= 0)[0])]
            raise InputError(f"{path}: row {row.line}: all probabilities of {head.name} are 0")
        heads[head.name] = part / sums
    return Probabilities(path, tuple(row.cells[ID] for row in table.rows), space, heads)


def _table(path: Path) -> Table:
    table = parse_table(read_text(str(path)), str(path), ())
    if table.complaints:
        raise InputError(f"{path}: {some(table.complaints, 3)}")
    if len(table.header) < 2:
        raise InputError(f"{path}: not a table, its first line has no cells that are separated; expected {_EXPECTED}")
    if not table.rows:
        raise InputError(f"{path}: the table has no rows; expected {_EXPECTED}")
    return table


def _predictions(path: Path) -> Predictions:
    predictions = read_predictions(path)
    if not isinstance(predictions, Predictions):
        raise InputError(f"{path}: predictions of a detector; classifiers vote")
    return predictions


def _faces(predictions: Predictions) -> tuple[str, ...]:
    paths = [face.path for face in predictions.faces]
    if len(set(paths)) == len(paths):
        return tuple(paths)
    return tuple(f"{face.path}#{face.face_id}" for face in predictions.faces)


def _attributes(table: Table, path: Path) -> NDArray[np.float64]:
    """Return the eight probabilities of each row, (N, 8): mask, gender, age."""
    known = {folded(name): name for name in table.header}
    seven = [known.get(folded(name), "") for name in _SEVEN]
    if all(seven):
        values = _numbers(table, seven, path)
        return np.insert(values, 3, 1 - values[:, 3], axis=1)
    others = [name for name in table.header if name not in (ID, ANSWER)]
    others = others[1:] if len(others) == _EIGHT + 1 and _INDEX.fullmatch(others[0]) else others
    if len(others) != _EIGHT:
        raise InputError(f"{path}: expected {_EXPECTED}; found {', '.join(table.header)}")
    return _numbers(table, others, path)


def _numbers(table: Table, columns: Sequence[str], path: Path) -> NDArray[np.float64]:
    values = np.empty((len(table.rows), len(columns)))
    for index, row in enumerate(table.rows):
        for column, name in enumerate(columns):
            try:
                values[index, column] = float(row.cells[name])
            except ValueError:
                values[index, column] = np.nan
            if not 0 <= values[index, column] <= 1:
                raise InputError(
                    f"{path}: row {row.line}: '{row.cells[name]}' in column '{name}' is no probability from 0 to 1"
                )
    return values
