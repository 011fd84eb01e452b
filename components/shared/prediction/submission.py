"""The predecessors' form of results: the table that names the pictures, with a class number in the column `ans`."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.answers import ANSWER, FACE, ID, parse_named_rows
from components.shared.dataset.predictions import Predictions
from components.shared.dataset.text import some
from serving.runtime.errors import InputError
from serving.runtime.output import whole_file


@dataclass(frozen=True)
class SubmissionForm:
    """A table whose column `ans` is to be filled.

    Attributes:
        name: of the table, for errors.
        header: the columns, among them `ans`.
        rows: the cells of each row by column; no two have the same `ImageID`.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    @property
    def ids(self) -> list[str]:
        """The ids of the pictures, in the order of the rows."""
        return [row[ID] for row in self.rows]


def parse_form(text: str, name: str) -> SubmissionForm:
    """Read the text of an `info.csv`: a column `ImageID` and perhaps others; `ans` is made where it is missing.

    Raises InputError, naming the table, when the column is missing, the table is empty, a row cannot be read, has no
    id, or has that of another row.
    """
    table = parse_named_rows(text, name)
    return SubmissionForm(name, tuple(dict.fromkeys([*table.header, ANSWER])), tuple(row.cells for row in table.rows))


def class_numbers(predictions: Predictions) -> Iterable[tuple[str, int, int]]:
    """Yield the path of the picture, the id of the face and the class number of each face.

    The number counts the classes of the label space: 18 of `mask_gender_age` and of `all`, 3 of `mask`, 2 of `gender`.
    """
    best = predictions.class_probabilities().argmax(axis=1).tolist()
    return ((face.path, face.face_id, number) for face, number in zip(predictions.faces, best, strict=True))


def write_submission(form: SubmissionForm, answers: Mapping[str, int], output: Path) -> None:
    """Write the rows of a form in their order, as a `whole_file`, with the class number of each picture in `ans`.

    Args:
        form: the table.
        answers: class number by the id of the picture; those that the form does not name are left out.
        output: the CSV to write.

    Raises:
        InputError: a picture of the form has no answer.
    """
    missing = [name for name in form.ids if name not in answers]
    if missing:
        raise InputError(
            f"{form.name}: {len(missing)} of {len(form.rows)} pictures have no prediction: {some(missing)}; "
            "repair these photos, or remove their rows"
        )
    with whole_file(output) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, form.header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {ANSWER: str(answers[row[ID]])} for row in form.rows)


def write_answers(answers: Iterable[tuple[str, int, int]], output: Path) -> None:
    """Write `ImageID` and `ans` for each face, as a `whole_file`; with `face_id` where a picture has several faces.

    Args:
        answers: id of the picture, of the face, and the class number.
        output: the CSV to write.
    """
    rows = list(answers)
    several = len({picture for picture, _, _ in rows}) < len(rows)
    with whole_file(output) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([ID, FACE, ANSWER] if several else [ID, ANSWER])
        writer.writerows([picture, face, number] if several else [picture, number] for picture, face, number in rows)
