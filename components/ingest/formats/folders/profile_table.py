"""The table of persons and the lists of folders beside profile folders."""

from dataclasses import dataclass

from components.ingest.formats.listing import Listing
from components.ingest.sources.source import Source
from components.shared.dataset.label_spaces import canonical_value
from components.shared.dataset.persons import refuse_overlap, refuse_unknown
from components.shared.dataset.text import listed_names
from serving.runtime.errors import InputError

COLUMNS = ("id", "gender", "race", "age", "path")


@dataclass(frozen=True, slots=True)
class Person:
    """One person: the id, the gender and the age in years."""

    id: str
    gender: str | int
    age: str | int


def parse_folder(folder: str) -> Person:
    """Read `<id>_<gender>_<race>_<age>`. Raises InputError when the name is invalid."""
    fields = folder.split("_")
    if len(fields) != 4 or not all(fields):
        raise InputError("expected <id>_<gender>_<race>_<age>")
    return Person(fields[0], canonical_value("gender", fields[1]), canonical_value("age", fields[3]))


def read_person_table(source: Source, path: str, listing: Listing) -> dict[str, Person]:
    """Read a table with one row per folder; `path` is the folder's name.

    Rows that cannot be read are lost, and so are folders whose rows contradict each other.
    """
    table: dict[str, Person] = {}
    conflicts = set()
    file = source.read_table(path, COLUMNS)
    for complaint in file.complaints:
        listing.lost.add("bad_table_row", f"{path}: {complaint}")
    for repair in file.repairs:
        listing.notes.add("stray_quote", f"{path}: {repair}")
    for row in file.rows:
        cells = row.cells
        folder = cells["path"].replace("\\", "/").strip("/").rpartition("/")[2]
        try:
            if not cells["id"] or not folder:
                raise InputError("no id or path")
            person = Person(
                cells["id"], canonical_value("gender", cells["gender"]), canonical_value("age", cells["age"])
            )
        except InputError as error:
            listing.lost.add("bad_table_row", f"{path}: row {row.line}: {error}")
            continue
        if table.setdefault(folder, person) != person:
            conflicts.add(folder)
        elif table[folder] is not person:
            listing.notes.add("duplicate_table_row", f"{path}: row {row.line}: {folder}")
    for folder in sorted(conflicts):
        listing.lost.add("conflicting_table_rows", folder)
        del table[folder]
    return table


def compare(folders: dict[str, Person | None], table: dict[str, Person], listing: Listing) -> None:
    """Count every difference between the folders, None where the name cannot be read, and the table."""
    for folder in sorted(folders.keys() - table.keys()):
        listing.notes.add("folder_without_row", folder)
    for folder in sorted(table.keys() - folders.keys()):
        listing.notes.add("row_without_folder", folder)
    for folder in sorted(folders.keys() & table.keys()):
        named, row = folders[folder], table[folder]
        for name in ("id", "gender", "age") if named is not None else ():
            if getattr(named, name) != getattr(row, name):
                listing.notes.add(f"{name}_differs", f"{folder}: the table says {getattr(row, name)}")


def read_lists(source: Source, lists: dict[str, str], persons: dict[str, str], listing: Listing) -> dict[str, str]:
    """Return the split of each folder that a list names, by its folder name or by its person's id.

    Args:
        source: where the lists are.
        lists: the path of the list of each split, one name per line.
        persons: the person of each folder.
        listing: counts the names that no folder and no person has, and the folders in no list.

    Raises:
        InputError: a list is missing, a person is in two of them, or names are unknown while folders are in no list: a
            misspelt name leaves its folder out.
    """
    folders_of: dict[str, list[str]] = {}
    for folder, person in persons.items():
        folders_of.setdefault(person, []).append(folder)
    splits: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    sides: dict[str, set[str]] = {split: set() for split in lists}
    for split, path in lists.items():
        source.require(path, "list", f"{split}_list")
        for name in listed_names(source.read_text(path)):
            members = [name] if name in persons else folders_of.get(name, [])
            if not members:
                listing.notes.add("unknown_name_in_list", f"{path}: {name}")
                unknown.setdefault(path, []).append(name)
            for folder in members:
                splits[folder] = split
                sides[split].add(persons[folder])
    try:
        refuse_overlap(sides)
    except InputError as error:
        raise InputError(f"{source.uri}: {error}") from error
    left_out = persons.keys() - splits.keys()
    for folder in sorted(left_out):
        listing.notes.add("in_no_list", folder)
    for path, names in unknown.items() if left_out else ():
        choices = left_out | {persons[folder] for folder in left_out}
        refuse_unknown(names, choices, f"{source.uri}/{path}: {len(left_out)} folders are in no list and no folder has")
    return splits
