"""The layout of a YOLO data set: its yaml, the split of each image, and the label file that belongs to it."""

import posixpath
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from components.ingest.formats.listing import SPLITS, Listing
from components.ingest.sources.source import Source
from components.shared.dataset.text import is_hidden
from serving.runtime.errors import InputError

# Raised by PyYAML for a scalar that looks like a date, number or boolean but is invalid, such as 2024-13-45.
_BAD_SCALARS = (ValueError, LookupError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class DatasetYaml:
    """The yaml of a data set: (split, folder or list of images) pairs, class names, shape of the keypoints."""

    path: str
    root: str
    entries: tuple[tuple[str, str], ...]
    names: dict[int, str] = field(default_factory=dict)
    keypoints: tuple[int, int] | None = None


def find_yaml(source: Source, named: str | None) -> DatasetYaml | None:
    """Read the named yaml, or else the only one of the source that describes a data set.

    Raises InputError when the named one is missing or describes none, and when there are several.
    """
    if named is not None:
        source.require(named, "file", "data")
        file = _parse(source, named)
        if file is None:
            raise InputError(f"{source.uri}/{named}: no data set; expected a mapping with 'names' and 'train' or 'val'")
        return file
    candidates = [path for path in source.paths if path.endswith((".yaml", ".yml")) and not is_hidden(path)]
    files = [file for file in (_parse(source, path) for path in candidates) if file is not None]
    if len(files) > 1:
        listed = ", ".join(file.path for file in files[:5])
        raise InputError(f"{source.uri}: several files describe a data set ({listed}); name one with the option 'data'")
    return files[0] if files else None


def _parse(source: Source, path: str) -> DatasetYaml | None:
    try:
        document = yaml.safe_load(source.read_text(path))
    except (yaml.YAMLError, RecursionError, *_BAD_SCALARS):
        return None
    if not isinstance(document, dict) or not document.keys() & {"names", "nc"} or not document.keys() & SPLITS.keys():
        return None
    entries = []
    for key, split in SPLITS.items():
        value = document.get(key)
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, str) and entry:
                entries.append((split, entry))
    root = document.get("path")
    return DatasetYaml(
        path, root if isinstance(root, str) else "", tuple(entries), _names(document.get("names")), _keypoints(document)
    )


def _names(value: Any) -> dict[int, str]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {key: str(name) for key, name in pairs if isinstance(key, int) and isinstance(name, str | int | float)}


def _keypoints(document: dict[str, Any]) -> tuple[int, int] | None:
    shape = document.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(number, int) for number in shape):
        return shape[0], shape[1]
    return None


def splits_of_yaml(source: Source, file: DatasetYaml, images: Collection[str], listing: Listing) -> dict[str, str]:
    """Return the split of every image that the yaml names.

    The yaml's paths were mostly written on another machine: of each, the longest end that leads to images counts.
    An image that is in two splits stays in the first of train, val and test, and is counted; so is an entry that
    leads nowhere.
    """
    below = _by_folder(images)
    names = set(images)
    splits: dict[str, str] = {}
    order = list(dict.fromkeys(SPLITS.values()))
    for split, entry in sorted(file.entries, key=lambda pair: order.index(pair[0])):
        if entry.endswith(".txt"):
            listed = _resolve(file, entry, set(source.paths).__contains__)
            members = _listed(source, listed, names, listing) if listed else []
        else:
            folder = _resolve(file, entry, below.__contains__)
            members = below[folder] if folder is not None else []
        if not members:
            listing.notes.add("split_without_images", f"{file.path}: {split}: {entry}")
        for path in members:
            if splits.setdefault(path, split) != split:
                listing.notes.add("in_two_splits", f"{path} ({splits[path]} and {split})")
    return splits


def _by_folder(images: Iterable[str]) -> dict[str, list[str]]:
    """Return the images at any depth below every folder."""
    below: dict[str, list[str]] = {}
    for path in images:
        for folder in PurePosixPath(path).parents:
            below.setdefault(str(folder), []).append(path)
    return below


def _resolve(file: DatasetYaml, entry: str, exists: Callable[[str], bool]) -> str | None:
    """Return the path below the source that an entry of the yaml refers to."""
    parts = [part for part in f"{file.root}/{entry}".replace("\\", "/").split("/") if part not in ("", ".", "..")]
    base = posixpath.dirname(file.path)
    ends = (posixpath.normpath(posixpath.join(base, *parts[start:])) for start in range(len(parts) or 1))
    return next(filter(exists, ends), None)


def _listed(source: Source, path: str, images: Collection[str], listing: Listing) -> list[str]:
    """Return the images that a list names, one a line, relative to the list or from another machine."""
    here = DatasetYaml(path, "", ())
    members = []
    for line in source.read_text(path).splitlines():
        if line.strip():
            image = _resolve(here, line.strip(), images.__contains__)
            if image is None:
                listing.dropped.add("missing_file", f"{path}: {line.strip()}")
            else:
                members.append(image)
    return members


def split_of_folders(path: str) -> str | None:
    """Return the split that a folder of the path is called after, the nearest folder first."""
    folders = path.lower().split("/")[:-1]
    return next((SPLITS[folder] for folder in reversed(folders) if folder in SPLITS), None)


def label_paths(image: str) -> tuple[str, str]:
    """Return where the label file of an image may be: with the last folder `images` called `labels`, or beside it."""
    head, images, tail = f"/{image}".rpartition("/images/")
    beside = str(PurePosixPath(image).with_suffix(".txt"))
    in_labels = str(PurePosixPath(f"{head}/labels/{tail}").with_suffix(".txt")).removeprefix("/") if images else beside
    return in_labels, beside
