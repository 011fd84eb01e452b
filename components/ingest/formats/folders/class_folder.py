"""Class folders: the class of a picture is the name of a folder above it, its split that of another."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import Field, field_validator

from components.ingest.formats.class_names import is_known_value, merged_spellings
from components.ingest.formats.folders.class_tree import ClassTree, Folder, check_template, described, read_tree
from components.ingest.formats.listing import Listing, Options, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
from components.shared.dataset.label_spaces import canonical_value
from serving.runtime.errors import InputError


class ClassFolderOptions(Options):
    """Options of class folders.

    Attributes:
        attribute: the attribute that the folder names are values of.
        folders: what the folders are, from the top, where the tree does not tell: `pets/<split>/<class>`. `<person>` is
            the folder of a person, `<any>` any other; folders below are not read.
        person: a regular expression with one group that finds the person in a file name without its extension;
            empty when the names do not tell.
    """

    attribute: str = Field(default="label", pattern=r"^[A-Za-z_]\w*$")
    folders: str = ""
    person: str = ""

    @field_validator("folders")
    @classmethod
    def _template(cls, value: str) -> str:
        return check_template(value) if value else ""

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

    Which folders are the classes and which the splits is told from the whole tree, see `read_tree`, or by the option
    `folders`. A picture above the class folders is skipped, or, when it is in a split, dropped. Class names that differ
    in case only are one class. Raises InputError when the tree does not tell, and when a folder is not a value of a
    known attribute.
    """
    listing = Listing()
    images = image_paths(source.paths, listing)
    if not images:
        return listing
    counts = Counter(path.rpartition("/")[0] for path in images)
    folders: dict[str, Folder] = {name: tuple(name.split("/")) if name else () for name in counts}
    sizes = {folders[name]: count for name, count in counts.items()}
    tree = read_tree(
        sizes, lambda name: is_known_value(options.attribute, name), options.max_dropped, options.folders, source.uri
    )
    listing.layout += described(tree, sizes, options.attribute)
    values = _values(source, options.attribute, tree, sizes, listing)
    person = re.compile(options.person) if options.person else None
    for path in images:
        folder = folders[path.rpartition("/")[0]]
        placement = tree.placements.get(folder)
        if placement is None:
            tally = listing.dropped if folder in tree.unlabeled else listing.skipped
            tally.add("not_in_a_class_folder", path)
            continue
        match = person.search(PurePosixPath(path).stem) if person else None
        face = Face(0, None, {options.attribute: values[placement.label]})
        listing.records.append(Record(path, (face,), match[1] if match else placement.person, placement.split))
    return listing


def _values(
    source: Source, attribute: str, tree: ClassTree, sizes: Mapping[Folder, int], listing: Listing
) -> dict[str, str | int]:
    """Return the value of each class folder's name."""
    counts: Counter[str] = Counter()
    for folder, placement in tree.placements.items():
        counts[placement.label] += sizes[folder]
    values = {}
    for label in counts:
        try:
            values[label] = canonical_value(attribute, label)
        except InputError as error:
            raise InputError(f"{source.uri}: class folder '{label}': {error}") from error
    return merged_spellings(values, counts, listing)
