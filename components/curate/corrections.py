"""Corrects labels by a table. No picture and no file name changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, ClassVar

from components.curate.correction_table import Correction, read_corrections
from components.curate.operation import Options, Outcome, original_name
from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import canonical_value
from serving.runtime.errors import InputError

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
