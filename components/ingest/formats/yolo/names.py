"""The class names of a YOLO data set: in its yaml, or in one of the files that tools write them into."""

import logging
import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from components.ingest.formats.listing import Listing
from components.ingest.formats.yolo.dataset import DatasetYaml
from components.ingest.sources.source import Source
from components.shared.dataset.text import is_hidden
from serving.runtime.errors import InputError

_log = logging.getLogger(__name__)

_FILES = {"classes.txt", "class_names.txt", "names.txt", "labels.txt", "predefined_classes.txt", "obj.names"}
_SUFFIXES = (".names", ".labels")
_ROW = re.compile(r"[\d.eE+-]+(\s+[\d.eE+-]+){4,}")


@dataclass(frozen=True, slots=True)
class _NamesFile:
    path: str
    names: dict[int, str]


def find_names(
    source: Source,
    dataset: DatasetYaml | None,
    option: Collection[str],
    labels: Collection[str],
    used: Collection[int],
    listing: Listing,
) -> dict[int, str]:
    """Return the names of the classes: those of the option, or those that the yaml and the files of names agree on.

    `labels` are the label files of images, which are never files of names, and `used` the classes that have faces. What
    was found, and whether the number of classes is the stated one, goes into `listing.layout`. Raises InputError when
    two files have different names for a class with faces.
    """
    if option:
        listing.layout.append("class names: from the option 'names'")
        return dict(enumerate(option))
    found = [_NamesFile(dataset.path, dataset.names)] if dataset and dataset.names else []
    found += [_read(source, path) for path in names_files(source, dataset, labels)]
    found = [file for file in found if file.names]
    for file in found[1:]:
        for number in sorted(used):
            one, other = found[0].names.get(number), file.names.get(number)
            if one is not None and other is not None and one.strip().casefold() != other.strip().casefold():
                raise InputError(
                    f"{source.uri}: class {number} is '{one}' in {found[0].path} and '{other}' in {file.path}; name "
                    f"the classes with the option 'names'"
                )
    names: dict[int, str] = {}
    for file in found:
        names = file.names | names
    if not names:
        searched = ", ".join(sorted(_FILES))
        message = (
            f"class names: none found, in no yaml and in none of {searched}, *.names, *.labels; faces have no label, "
            f"name the classes with the option 'names'"
        )
        _log.warning("%s: %s", source.uri, message)
        listing.layout.append(message)
        return {}
    listing.layout.append(f"class names: from {', '.join(file.path for file in found)}")
    if dataset and dataset.stated is not None and dataset.stated != len(names):
        message = f"{dataset.path}: states {dataset.stated} classes, there are names of {len(names)}"
        _log.warning("%s/%s", source.uri, message)
        listing.layout.append(message)
    return names


def names_files(source: Source, dataset: DatasetYaml | None, labels: Collection[str]) -> list[str]:
    """Return the files of the source that hold names, that of the data set's file first."""
    named = posixpath.basename(dataset.names_file.replace("\\", "/")) if dataset and dataset.names_file else None
    paths = [
        path
        for path in source.paths
        if path not in labels
        and not is_hidden(path)
        and (_is_names_file(posixpath.basename(path).lower()) or posixpath.basename(path) == named)
    ]
    return sorted(paths, key=lambda path: posixpath.basename(path) != named)


def _is_names_file(name: str) -> bool:
    return name in _FILES or name.endswith(_SUFFIXES)


def _read(source: Source, path: str) -> _NamesFile:
    """Read names, one a line; a file of numbers only, such as label rows, has none."""
    lines = [line.strip() for line in source.read_text(path).splitlines()]
    if any(_ROW.fullmatch(line) for line in lines):
        return _NamesFile(path, {})
    return _NamesFile(path, {number: name for number, name in enumerate(lines) if name})


def described_classes(names: Mapping[int, str], used: Mapping[int, int], attribute: str | None) -> str:
    """Say what the classes are and how many faces each has."""
    listed = ", ".join(f"{names.get(number, f'class {number}')} {count}" for number, count in sorted(used.items()))
    empty = [name for number, name in names.items() if number not in used]
    return f"{attribute or 'no attribute'} is the class: {listed or 'no faces'}" + (
        f"; without faces: {', '.join(empty)}" if empty else ""
    )
