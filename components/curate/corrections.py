"""Corrects labels by a table of label errors, one row per person and attribute. No picture and no file name changes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, ClassVar

from components.curate.operation import Options, Outcome, original_name
from components.shared.dataset.ages import age_span
from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import canonical_value, known_value
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
            if {known_value("mask", PurePosixPath(name).stem) for name in (before, after)} != {"incorrect", "absent"}:
                raise InputError(f"incorrect_mask and normal can be exchanged, got {before!r} and {after!r}")
            return Correction(line, person, attribute, frozenset(), None)
        span = age_span(after) if attribute == "age" else None
        if span is not None and span[0] < span[1]:
            raise InputError(f"'after' must be one age, got {after!r}")
        return Correction(line, person, attribute, _expected(attribute, before), canonical_value(attribute, after))
    except InputError as error:
        raise InputError(f"{table}, line {line}: {error}") from error


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


# The pictures of a person that a mask swap changes: the label before and after.
SWAPPED = {"incorrect_mask": ("incorrect", "absent"), "normal": ("absent", "incorrect")}


class CorrectionsOptions(Options):
    """Options of corrections.

    Attributes:
        table: the name of a table that ships (gender_and_mask, age_60, gender_flips), a path or an `s3://` address.
    """

    locations: ClassVar[tuple[str, ...]] = ("table",)

    table: str


def corrections(images: Sequence[Image], options: CorrectionsOptions) -> Outcome:
    """Correct gender, age and mask labels of persons by their exact id.

    The outcome of a row is one of four: `applied`; `already_so`, the labels have the new value; `conflicting`, they
    have neither the expected nor the new value and stay; `not_found`, no such person or picture. A person's faces
    without the expected value stay as they are when others of theirs have it. A mask swap exchanges the labels of the
    person's incorrect_mask and normal pictures, or does nothing at all. Pictures with several faces stay, because it
    is not known which face is the person: `several_faces`.
    """
    rows = read_corrections(options.table)
    persons = {row.person for row in rows}
    pictures: dict[str, list[int]] = {}
    for index, image in enumerate(images):
        if image.person in persons:
            pictures.setdefault(image.person, []).append(index)
    curated = list(images)
    outcome = Outcome(curated)
    changed: set[int] = set()
    for row in rows:
        targets = []
        for index in pictures.get(row.person, ()):
            if len(curated[index].faces) > 1:
                outcome.notes.add("several_faces", curated[index].file_name)
            elif target := _target(index, curated[index], row):
                targets.append(target)
        status, corrected = _outcome_of(row, targets)
        outcome.notes.add(status, f"{row.person} {row.attribute}")
        for target in corrected:
            curated[target.index] = _relabeled(curated[target.index], row.attribute, target.after)
            changed.add(target.index)
    for index in sorted(changed):
        outcome.notes.add("images_changed", curated[index].file_name)
    return outcome


@dataclass(frozen=True, slots=True)
class _Target:
    """A picture that a row applies to: its label, the expected ones (empty: any) and the new one."""

    index: int
    label: str | int | None
    expected: frozenset[str | int]
    after: str | int


def _target(index: int, image: Image, row: Correction) -> _Target | None:
    if not image.faces:
        return None
    label = _label(image, row.attribute)
    if row.after is not None:
        return _Target(index, label, row.before, row.after)
    stem = PurePosixPath(original_name(image)).stem
    if stem not in SWAPPED:
        return None
    before, after = SWAPPED[stem]
    return _Target(index, label, frozenset([before]), after)


def _outcome_of(row: Correction, targets: Sequence[_Target]) -> tuple[str, Sequence[_Target]]:
    """Return the outcome of a row, and the pictures to correct."""
    if not targets:
        return "not_found", ()
    expected = [
        target
        for target in targets
        if target.label != target.after and (not target.expected or target.label in target.expected)
    ]
    whole_swap = row.after is not None or len(expected) == len(targets)
    if expected and whole_swap:
        return "applied", expected
    return ("already_so" if all(target.label == target.after for target in targets) else "conflicting"), ()


def _label(image: Image, attribute: str) -> str | int | None:
    value: Any = image.faces[0].attributes.get(attribute)
    try:
        return None if value is None else canonical_value(attribute, value)
    except InputError:
        return str(value)


def _relabeled(image: Image, attribute: str, value: str | int) -> Image:
    face = image.faces[0]
    return replace(image, faces=(replace(face, attributes={**face.attributes, attribute: value}),))
