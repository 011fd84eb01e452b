"""Tables of label errors that people found: one CSV row per person and fact."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from components.curate.places import read_text
from components.shared.dataset.label_spaces import canonical_value
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import is_s3

TABLES = {path.stem: path for path in sorted((Path(__file__).parent / "tables").glob("*.csv"))}
"""The tables that ship with the step, by name."""

COLUMNS = ("error_id", "miss_col", "before", "after", "type")
TYPES = {"gender": "all", "age": "all", "mask": "file"}


@dataclass(frozen=True, slots=True)
class Correction:
    """One row. `attribute` gender or age: the value of the whole person; mask: two pictures exchange their labels.

    Attributes:
        line: where the row is in its file.
        person: the exact id.
        attribute: gender, age or mask.
        before: the values that the table expects; empty when any is right.
        after: the value to write; None for mask.
    """

    line: int
    person: str
    attribute: str
    before: frozenset[str | int]
    after: str | int | None


def read_table(table: str) -> list[Correction]:
    """Read a table: one that ships, by its name, or a path or `s3://` address.

    The columns are `error_id, error_file_name, miss_col, before, after, type`; `error_file_name` is for people and not
    read. An empty `before` means any value; the `before` of an age may be a range such as `51-59`.

    Raises:
        NotFoundError: no such table.
        InputError: a column is missing, or a row cannot be understood or contradicts another one.
    """
    place = table if table not in TABLES else str(TABLES[table])
    try:
        text = read_text(place)
    except NotFoundError as error:
        raise NotFoundError(f"{error}. Tables that ship: {', '.join(TABLES)}") from error
    where = place if is_s3(place) else Path(place).name
    rows = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(rows, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(f"{where}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    corrections = []
    for row in rows:
        if any(cell.strip() for cell in row):
            cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
            corrections.append(_correction(cells, rows.line_num, where))
    _refuse_contradictions(corrections, where)
    return corrections


def _correction(cells: Mapping[str, str], line: int, where: str) -> Correction:
    person, attribute, before, after, kind = (cells.get(name, "") for name in COLUMNS)
    attribute = attribute.lower()
    try:
        if not person:
            raise InputError("'error_id' is empty")
        if attribute not in TYPES:
            raise InputError(f"'miss_col' must be {', '.join(TYPES)}, got {attribute!r}")
        if kind.lower() != TYPES[attribute]:
            raise InputError(f"'type' must be '{TYPES[attribute]}' for {attribute}, got {kind!r}")
        if attribute == "mask":
            if {_picture(before), _picture(after)} != {"incorrect", "absent"}:
                raise InputError(f"incorrect_mask and normal can be exchanged, got {before!r} and {after!r}")
            return Correction(line, person, attribute, frozenset(), None)
        return Correction(line, person, attribute, _expected(attribute, before), canonical_value(attribute, after))
    except InputError as error:
        raise InputError(f"{where}, line {line}: {error}") from error


def _picture(name: str) -> str | int | None:
    """Return the mask label that a picture's name stands for, None for any other name."""
    try:
        return canonical_value("mask", PurePosixPath(name).stem)
    except InputError:
        return None


def _expected(attribute: str, before: str) -> frozenset[str | int]:
    if not before:
        return frozenset()
    span = re.fullmatch(r"(\d+)\s*-\s*(\d+)", before)
    if attribute == "age" and span:
        first, last = int(canonical_value("age", span[1])), int(canonical_value("age", span[2]))
        return frozenset(range(first, last + 1))
    return frozenset([canonical_value(attribute, before)])


def _refuse_contradictions(corrections: list[Correction], where: str) -> None:
    seen: dict[tuple[str, str], Correction] = {}
    for row in corrections:
        first = seen.setdefault((row.person, row.attribute), row)
        if first.after != row.after:
            raise InputError(
                f"{where}: lines {first.line} and {row.line} want the {row.attribute} of {row.person} to be "
                f"{first.after} and {row.after}; keep one of them"
            )
