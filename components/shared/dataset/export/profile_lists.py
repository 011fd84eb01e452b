"""Lists of persons: `train.txt`, `val.txt` and `test.txt` with one person per line."""

from pathlib import Path

from components.shared.dataset.export.choice import SPLITS, Choice, Remarks
from components.shared.dataset.persons import crossing_persons
from serving.runtime.errors import InputError


def export_profile_lists(folder: Path, chosen: list[Choice], remarks: Remarks) -> list[Choice]:
    """Write the persons of every split, sorted. Images without a person are left out.

    A person of val or test whose other images have no split is not a person of train. Raises InputError when a person
    has images in two splits, or no person is known.
    """
    crossing = crossing_persons(choice.image for choice in chosen)
    if crossing:
        raise InputError(
            f"{len(crossing)} persons have images in more than one split ({', '.join(crossing[:5])}); lists of persons "
            f"cannot express that: split by person first"
        )
    named = {choice.image.person: choice.split for choice in chosen if choice.image.split is not None}
    persons: dict[str, str] = {}
    kept = []
    for choice in chosen:
        person = choice.image.person
        if person is None:
            remarks.left_out.add("no_person", choice.image.file_name)
        elif any(character in person for character in "\r\n") or person != person.strip():
            raise InputError(f"person {person!r} cannot be in a list with one name per line; rename it")
        elif named.get(person, choice.split) != choice.split:
            remarks.left_out.add("unsplit", choice.image.file_name)
        else:
            persons[person] = choice.split
            kept.append(choice)
    if not persons:
        raise InputError("no image has a person, so there is nothing to list; read the data so that it names them")
    for split in SPLITS:
        members = sorted(person for person, where in persons.items() if where == split)
        (folder / f"{split}.txt").write_text("".join(f"{person}\n" for person in members), encoding="utf-8")
    return kept
