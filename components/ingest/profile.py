"""Profile folders: `<id>_<gender>_<race>_<age>/` with up to seven pictures of one person, told apart by their stems."""

from pathlib import PurePosixPath

from components.ingest.found import Found, FoundFace, Record, usable
from components.ingest.options import Options
from components.ingest.source import Source
from components.shared.dataset.label_spaces import canonical_value
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


class ProfileOptions(Options):
    """Nothing beyond the common options."""


def read_profiles(source: Source, options: ProfileOptions) -> Found:
    """Find the profile folders directly below the source, or below its `images` folder.

    The person is the id, the first field of the folder name: `001498-1` is not `001498`, and an id with two folders
    is one person. A folder whose name cannot be understood is dropped with its pictures.
    """
    found = Found()
    folders: dict[str, dict[str, str]] = {}
    images = usable(source.paths, found)
    root = "images/" if any(path.startswith("images/") and path.count("/") > 1 for path in images) else ""
    for path in images:
        parts = path.removeprefix(root).split("/")
        stem = PurePosixPath(path).stem
        if not path.startswith(root) or len(parts) != 2:
            found.skipped.add("not_in_a_profile_folder", path)
        elif stem not in MASK_OF_STEM:
            found.skipped.add("unknown_stem", path)
        elif stem in folders.setdefault(parts[0], {}):
            found.skipped.add("second_file_of_a_stem", path)
        else:
            folders[parts[0]][stem] = path
    for folder, files in sorted(folders.items()):
        try:
            person, gender, age = _parse(folder)
        except InputError as error:
            found.dropped.add("folder_name", f"{folder}: {error}", len(files))
            continue
        for stem in MASK_OF_STEM:
            if stem not in files:
                found.notes.add(f"missing_{stem}", folder)
        for stem, path in files.items():
            face = FoundFace(None, {"mask": MASK_OF_STEM[stem], "gender": gender, "age": age})
            found.records.append(Record(path, (face,), person))
    found.records.sort(key=lambda record: record.path)
    return found


def _parse(folder: str) -> tuple[str, str | int, str | int]:
    """Return person, gender and age of a folder name."""
    fields = folder.split("_")
    if len(fields) != 4 or not all(fields):
        raise InputError("expected <id>_<gender>_<race>_<age>")
    return fields[0], canonical_value("gender", fields[1]), canonical_value("age", fields[3])
