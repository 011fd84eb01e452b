"""Splits by explicit lists of persons."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from components.shared.dataset.annotations import Image
from components.shared.dataset.persons import refuse_overlap, refuse_unknown
from components.shared.dataset.tally import MAX_EXAMPLES
from components.shared.dataset.text import composed, listed_names, read_text
from components.split.division import Division, Task
from serving.runtime.errors import InputError


def divide_lists(task: Task) -> Division:
    """Give every image the split of the list that names its person or its profile folder.

    A name is a person's id, or the name of the folder that a picture lay in, exactly but for how its letters are
    composed. Persons in no list have no split. A test set that came with the data stays when there is no `test_list`.
    Counted are persons of which no image is in a list (`unlisted_persons`), their images (`unlisted_images`) and names
    that belong to no image (`unknown_names`). A misspelt name leaves its person out of all lists, so names of nobody
    are refused when persons are in no list.

    Raises:
        InputError: a person is in two lists, no name of the train list is known, or names belong to no image while
            persons are in no list.
        NotFoundError: a list does not exist.
    """
    options = task.options
    uris = {"train": options.train_list, "val": options.val_list, "test": options.test_list}
    lists = {split: _read_list(uri) for split, uri in uris.items() if uri}
    refuse_overlap(lists)
    listed = {name: split for split, names in lists.items() for name in names}
    existing = [] if "test" in lists else task.existing("test")
    splits: dict[int, str] = {}
    sides: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
    known: set[str] = set()
    unlisted: list[Image] = []
    for image in task.images:
        names = [name for name in map(composed, (image.person or "", _folder(image))) if name in listed]
        who = image.person or _folder(image) or image.file_name
        known.update(names)
        for name in names:
            sides[listed[name]].add(who)
        if image.split in existing:
            sides["test"].add(who)
            splits[image.id] = "test"
        elif names:
            splits[image.id] = listed[names[0]]
        elif task.classes[image.id]:
            unlisted.append(image)
    refuse_overlap(sides)
    if not known & lists["train"]:
        raise InputError(
            f"{options.train_list}: its {len(lists['train'])} names are not persons of {task.path}; expected "
            f"persons or profile folders such as {_such_as(task.images)}"
        )
    unknown = sorted(listed.keys() - known)
    on_a_side = set().union(*sides.values())
    strangers = {image.person or _folder(image) or image.file_name for image in unlisted} - on_a_side
    if strangers:
        persons = {name for image in unlisted for name in (image.person, _folder(image)) if name}
        for split, names_there in lists.items():
            what = f"{uris[split]}: {len(strangers)} persons are in no list and no image has"
            refuse_unknown(names_there.intersection(unknown), persons, what)
    details = {
        "given": existing,
        "unlisted_images": len(unlisted),
        "unlisted_persons": len(strangers),
        "unlisted_examples": sorted(strangers)[:MAX_EXAMPLES],
        "unknown_names": len(unknown),
        "unknown_examples": unknown[:MAX_EXAMPLES],
    }
    return Division(splits, details=details, unlabeled={at for at, split in splits.items() if split == "train"})


def _read_list(uri: str) -> set[str]:
    names = set(listed_names(read_text(uri)))
    if not names:
        raise InputError(f"{uri}: contains no names; expected one person per line")
    return names


def _folder(image: Image) -> str:
    """Return the name of the folder that the picture lay in, "" for none."""
    return PurePosixPath(image.source or image.file_name).parent.name


def _such_as(images: Iterable[Image]) -> str:
    names = {image.person or _folder(image) or image.file_name for image in images}
    return ", ".join(f"'{name}'" for name in sorted(names)[:3])
