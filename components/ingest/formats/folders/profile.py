"""Profile folders: `<id>_<gender>_<race>_<age>/` with up to seven pictures of one person, told apart by their stems."""

from pathlib import PurePosixPath
from typing import Literal

from components.ingest.formats.folders.profile_table import Person, compare, parse_folder, read_lists, read_person_table
from components.ingest.formats.listing import Listing, Options, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
from serving.runtime.errors import InputError

MASK_OF_STEM = {
    "mask1": "worn",
    "mask2": "worn",
    "mask3": "worn",
    "mask4": "worn",
    "mask5": "worn",
    "incorrect_mask": "incorrect",
    "normal": "absent",
}
_TABLE = "train.csv"


class ProfileOptions(Options):
    """Options of profile folders.

    Attributes:
        table: the table of persons below the source, with the columns id, gender, race, age and path; by default
            `train.csv` when there is one.
        prefer: whether the name of a folder or its row in the table counts where they differ.
        train_list: a text below the source with the folders of the train split, one name (or person's id) per line.
        val_list: the same for the val split.
    """

    table: str | None = None
    prefer: Literal["folder", "table"] = "folder"
    train_list: str | None = None
    val_list: str | None = None


def read_profiles(source: Source, options: ProfileOptions) -> Listing:
    """Find the profile folders directly below the source, or below its `images` folder.

    The person is the id, the first field of the folder name: `001498-1` is not `001498`, and an id with two folders
    is one person. A folder with an invalid name is dropped with its pictures, unless the table is preferred and
    has it. Differences between folders and table are counted. Lists give the folders they name a split, the
    others have none. Raises InputError when a table or list is missing, or a person is in two lists.
    """
    listing = Listing()
    lists = {split: path for split, path in {"train": options.train_list, "val": options.val_list}.items() if path}
    table_path = options.table or (_TABLE if _TABLE in source.paths else None)
    if table_path is not None:
        source.require(table_path, "table", "table")
    beside = {table_path, *lists.values()}
    folders = _folders(image_paths((path for path in source.paths if path not in beside), listing), listing)
    persons, complaints = _named_persons(folders)
    table = _table(source, table_path, options, listing)
    if table is not None:
        compare({folder: persons.get(folder) for folder in folders}, table, listing)
        if options.prefer == "table":
            persons |= {folder: person for folder, person in table.items() if folder in folders}
    ids = {folder: person.id for folder, person in persons.items()}
    splits = read_lists(source, lists, ids, listing) if lists else {}
    for folder, files in sorted(folders.items()):
        if folder not in persons:
            listing.dropped.add("folder_name", f"{folder}: {complaints[folder]}", len(files))
            continue
        person = persons[folder]
        for stem in MASK_OF_STEM:
            if stem not in files:
                listing.notes.add(f"missing_{stem}", folder)
        for stem, path in files.items():
            face = Face(0, None, {"mask": MASK_OF_STEM[stem], "gender": person.gender, "age": person.age})
            listing.records.append(Record(path, (face,), person.id, splits.get(folder)))
    listing.records.sort(key=lambda record: record.path)
    return listing


def _table(source: Source, path: str | None, options: ProfileOptions, listing: Listing) -> dict[str, Person] | None:
    """Read the table of persons, if there is one. Errors of one that no option asks for are only counted."""
    if path is None:
        return None
    try:
        return read_person_table(source, path, listing)
    except InputError as error:
        if options.table is not None or options.prefer == "table":
            raise
        listing.notes.add("table_not_read", str(error))
        return None


def _folders(images: list[str], listing: Listing) -> dict[str, dict[str, str]]:
    """Return the path of each known stem of each folder, and count the other images."""
    folders: dict[str, dict[str, str]] = {}
    root = "images/" if any(path.startswith("images/") and path.count("/") > 1 for path in images) else ""
    for path in images:
        parts = path.removeprefix(root).split("/")
        stem = PurePosixPath(path).stem
        if not path.startswith(root) or len(parts) != 2:
            listing.skipped.add("not_in_a_profile_folder", path)
        elif stem not in MASK_OF_STEM:
            listing.skipped.add("unknown_stem", path)
        elif stem in folders.setdefault(parts[0], {}):
            listing.skipped.add("second_file_of_a_stem", path)
        else:
            folders[parts[0]][stem] = path
    return folders


def _named_persons(folders: dict[str, dict[str, str]]) -> tuple[dict[str, Person], dict[str, str]]:
    """Return the persons of the folders with valid names, and the errors of the others."""
    persons, complaints = {}, {}
    for folder in folders:
        try:
            persons[folder] = parse_folder(folder)
        except InputError as error:
            complaints[folder] = str(error)
    return persons, complaints
