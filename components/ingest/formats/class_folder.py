"""Class folders: `<class>/...` or `<split>/<class>/...`, the class of a picture is the name of its folder.

Both may be below a folder `images`, as in the trees that YOLO classifiers learn from.
"""

import re
from pathlib import PurePosixPath

from pydantic import Field, field_validator

from components.ingest.formats.listing import SPLITS, Listing, Options, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
from components.shared.dataset.label_spaces import canonical_value
from serving.runtime.errors import InputError


class ClassFolderOptions(Options):
    """Options of class folders.

    Attributes:
        attribute: the attribute that the folder names are values of.
        person: a regular expression with one group that finds the person in a file name without its extension;
            empty when the names do not tell.
    """

    attribute: str = Field(default="label", pattern=r"^[A-Za-z_]\w*$")
    person: str = ""

    @field_validator("person")
    @classmethod
    def _one_group(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        if value and groups != 1:
            raise ValueError("needs exactly one group, such as ^(.+)_[0-9]+$")
        return value


def read_class_folders(source: Source, options: ClassFolderOptions) -> Listing:
    """Find the pictures in class folders, at any depth below them.

    Splits are read when every top-level folder is called train, val, valid, validation or test. A folder `images` that
    holds all pictures is not a class. Raises InputError when only some folders are splits, or when a folder is not a
    value of a known attribute.
    """
    listing = Listing()
    images = image_paths(source.paths, listing)
    root = "images/" if images and all(path.startswith("images/") for path in images) else ""
    tops = {path.removeprefix(root).split("/")[0] for path in images if "/" in path.removeprefix(root)}
    named_splits = sorted(tops & SPLITS.keys())
    if named_splits and tops - SPLITS.keys():
        raise InputError(
            f"{source.uri}: some folders are splits ({', '.join(named_splits)}), others are not "
            f"({', '.join(sorted(tops - SPLITS.keys())[:5])}); name one kind only"
        )
    values: dict[str, str | int] = {}
    for path in images:
        parts = path.removeprefix(root).split("/")
        split = SPLITS[parts.pop(0)] if named_splits and len(parts) > 1 else None
        if len(parts) < 2:
            listing.skipped.add("not_in_a_class_folder", path)
            continue
        if parts[0] not in values:
            values[parts[0]] = _class_value(source, options.attribute, parts[0])
        match = re.search(options.person, PurePosixPath(path).stem) if options.person else None
        face = Face(0, None, {options.attribute: values[parts[0]]})
        listing.records.append(Record(path, (face,), match[1] if match else None, split))
    return listing


def _class_value(source: Source, attribute: str, folder: str) -> str | int:
    try:
        return canonical_value(attribute, folder)
    except InputError as error:
        raise InputError(f"{source.uri}: class folder '{folder}': {error}") from error
