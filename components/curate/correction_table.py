"""Tables of label errors: one CSV row per person and attribute."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.shared.dataset.label_spaces import canonical_value
from components.shared.dataset.table import Row, read_table, shipped_tables
from serving.runtime.errors import InputError

TABLES = shipped_tables(__file__)
"""The tables that ship with the step, by name."""

COLUMNS = ("error_id", "miss_col", "before", "after", "type")
TYPES = {"gender": "all", "age": "all", "mask": "file"}


@dataclass(frozen=True, slots=True)
class Correction:
    """One row. `attribute` gender or age: the value of the whole person; mask: two pictures exchange their labels.

    Attributes:
        line: of the file.
        person: the exact id.
        attribute: gender, age or mask.
        before: the expected values; empty for any.
        after: the value to write; None for mask.
    """

    line: int
    person: str
    attribute: str
    before: frozenset[str | int]
    after: str | int | None


def read_corrections(table: str) -> list[Correction]:
    """Read a table: one that ships, by its name, or a path or `s3://` address.

    The columns are `error_id, error_file_name, miss_col, before, after, type`; `error_file_name` is not read. An empty
    `before` means any value; the `before` of an age may be a range such as `51-59`.

    Raises:
        NotFoundError: no such table.
        InputError: a column is missing, or a row is invalid or contradicts another one.
    """
    corrections = [_correction(row, table) for row in read_table(table, TABLES, COLUMNS)]
    _refuse_contradictions(corrections, table)
    return corrections


def _correction(row: Row, table: str) -> Correction:
    person, attribute, before, after, kind = (row.cells[name] for name in COLUMNS)
    line, attribute = row.line, attribute.lower()
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
        raise InputError(f"{table}, line {line}: {error}") from error


def _picture(name: str) -> str | int | None:
    """Return the mask label of a file name, None for any other name."""
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


def _refuse_contradictions(corrections: list[Correction], table: str) -> None:
    seen: dict[tuple[str, str], Correction] = {}
    for row in corrections:
        first = seen.setdefault((row.person, row.attribute), row)
        if first.after != row.after:
            raise InputError(
                f"{table}: lines {first.line} and {row.line} set the {row.attribute} of {row.person} to "
                f"{first.after} and {row.after}; keep one of them"
            )
