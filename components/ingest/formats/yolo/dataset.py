"""The layout of a YOLO data set: its yaml or lists, the split of each image, and the label file that belongs to it."""

import posixpath
import re
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from components.ingest.formats.listing import Listing, split_of_name
from components.ingest.sources.source import Source
from components.shared.dataset.text import is_hidden, is_image_name
from components.shared.dataset.vocabulary import SPLITS
from serving.runtime.errors import InputError

_KEYS = re.compile(r"(?m)^[ \t]*[\"']?(names|nc|train|val)[\"']?[ \t]*:")
_IMAGE_FOLDER = re.compile(r"(.*/)(?:images|jpegimages|imgs|img)/(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DatasetYaml:
    """What describes a data set: (split, folder or list of images) pairs, class names, shape of the keypoints.

    `names_file` is the file that has the names instead, as Darknet's `obj.data` says; `stated` is the number of classes
    that the file states.
    """

    path: str
    root: str
    entries: tuple[tuple[str, str], ...]
    names: dict[int, str] = field(default_factory=dict)
    keypoints: tuple[int, int] | None = None
    names_file: str | None = None
    stated: int | None = None


class _TextLoader(yaml.BaseLoader):
    """Leaves every scalar as it is written: `no`, `1e3` and `~` are names. A key with two values is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[str, str] = {}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            text = value.value if isinstance(value, yaml.ScalarNode) else f"at line {value.start_mark.line + 1}"
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, text) != text:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' has two values: {first[key.value]}, {text}", key.start_mark
                )
        return super().construct_mapping(node, deep)


def find_dataset(source: Source, named: str | None) -> DatasetYaml | None:
    """Read the named yaml, or else the only file of the source that describes a data set.

    Besides a yaml this is Darknet's `obj.data`. Raises InputError when the named one is missing or describes none, when
    there are several, and when the only one cannot be read.
    """
    if named is not None:
        source.require(named, "file", "data")
        file, error = _parse(source, named)
        if file is None:
            raise InputError(
                f"{source.uri}/{named}: no data set; expected a mapping with 'names' and 'train' or 'val'. {error}"
            )
        return file
    files: list[DatasetYaml] = []
    errors: dict[str, str] = {}
    for path in source.paths:
        if path.lower().endswith((".yaml", ".yml", "obj.data")) and not is_hidden(path):
            file, error = _parse(source, path)
            files += [file] if file else []
            errors |= {path: error} if error else {}
    files = [file for file in files if file.entries] or files
    if len(files) > 1:
        listed = ", ".join(file.path for file in files[:5])
        raise InputError(f"{source.uri}: several files describe a data set ({listed}); name one with the option 'data'")
    if errors and not files:
        path, error = next(iter(errors.items()))
        raise InputError(f"{source.uri}/{path}: describes a data set and cannot be read: {error}; repair it")
    return files[0] if files else None


def _parse(source: Source, path: str) -> tuple[DatasetYaml | None, str]:
    """Return the data set that a file describes, or None and, if it looks like one, why it cannot be read."""
    text = source.read_text(path)
    if path.lower().endswith(".data"):
        return _darknet(path, text), ""
    try:
        document = yaml.load(text, _TextLoader)
    except (yaml.YAMLError, RecursionError) as error:
        return None, " ".join(str(error).split()) if _KEYS.search(text) else ""
    if not isinstance(document, dict) or not document.keys() & {"names", "nc"}:
        return None, ""
    splits = [(split, value) for key, split in SPLITS.items() for value in _list(document.get(key))]
    if not splits and not isinstance(document.get("names"), dict | list):
        return None, ""
    root = document.get("path")
    names = document.get("names")
    return DatasetYaml(
        path,
        root if isinstance(root, str) else "",
        tuple((split, value) for split, value in splits if isinstance(value, str) and value),
        _names(names),
        _keypoints(document.get("kpt_shape")),
        names if isinstance(names, str) and "," not in names and "." in names else None,
        _integer(document.get("nc")),
    ), ""


def _darknet(path: str, text: str) -> DatasetYaml:
    """Read Darknet's `key = value` lines."""
    pairs = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines())}
    entries = tuple((SPLITS[key], value) for key, value in pairs.items() if key in SPLITS and value)
    return DatasetYaml(path, "", entries, names_file=pairs.get("names") or None, stated=_integer(pairs.get("classes")))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and value.strip().isdigit() else None


def _names(value: Any) -> dict[int, str]:
    """Return the names of a list, a mapping in either direction, or a text with commas."""
    if isinstance(value, str):
        return dict(enumerate(name.strip() for name in value.split(","))) if "," in value else {}
    if not isinstance(value, dict):
        return {number: name for number, name in enumerate(_list(value)) if isinstance(name, str) and name}
    pairs = [(key, name) for key, name in value.items() if isinstance(name, str) and name]
    if pairs and all(_integer(key) is None and _integer(name) is not None for key, name in pairs):
        pairs = [(name, key) for key, name in pairs]
    names: dict[int, str] = {}
    for key, name in pairs:
        number = _integer(key)
        if number is not None and names.setdefault(number, name) != name:
            raise InputError(f"class {number} has two names, '{names[number]}' and '{name}'")
    return names


def _keypoints(value: Any) -> tuple[int, int] | None:
    shape = [_integer(entry) for entry in _list(value)]
    return (shape[0], shape[1]) if len(shape) == 2 and shape[0] is not None and shape[1] is not None else None


def find_lists(source: Source, images: Collection[str], labels: Collection[str]) -> DatasetYaml | None:
    """Return the lists of images, `train.txt` and `valid.txt`, of a data set that nothing else describes."""
    paths = [
        path
        for path in source.paths
        if path.endswith(".txt")
        and path not in labels
        and split_of_name(PurePosixPath(path).stem)
        and not is_hidden(path)
    ]
    entries = []
    for path, data in source.stream(paths):
        line = next((line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()), "")
        split = split_of_name(PurePosixPath(path).stem)
        if split and is_image_name(line):
            entries.append((split, path))
    return DatasetYaml("lists of images", "", tuple(entries)) if entries else None


def splits_of_yaml(source: Source, file: DatasetYaml, images: Collection[str], listing: Listing) -> dict[str, str]:
    """Return the split of every image that the data set names.

    The paths were mostly written on another machine: of each, the longest end that leads to images counts. An image
    that is in two splits stays in the first of train, val and test, and its other split is lost, but where two splits
    are one folder, which is noted: trainers ask for a val split. Where an entry leads nowhere, images in no split are
    dropped, else they are skipped.
    """
    below = _by_folder(images)
    names = set(images)
    splits: dict[str, str] = {}
    order = list(dict.fromkeys(SPLITS.values()))
    nowhere = []
    entries: dict[frozenset[str], str] = {}
    for split, entry in sorted(file.entries, key=lambda pair: order.index(pair[0])):
        if entry.endswith(".txt"):
            listed = _resolve(file, entry, set(source.paths).__contains__)
            members = _listed(source, listed, names, listing) if listed else []
        else:
            folder = _resolve(file, entry, below.__contains__)
            members = below[folder] if folder is not None else []
        if not members:
            nowhere.append(entry)
            listing.notes.add("split_without_images", f"{file.path}: {split}: {entry}")
        first = entries.setdefault(frozenset(members), split)
        tally = listing.lost if first == split else listing.notes
        if members and first != split:
            listing.layout.append(f"{file.path}: {split} is {first} once more, and stays {first}: {entry}")
        for path in members:
            if splits.setdefault(path, split) != split:
                tally.add("in_two_splits", f"{path} ({splits[path]} and {split})")
    if nowhere:
        listing.layout.append(f"{file.path}: no images at {', '.join(nowhere)}")
    for path in images if splits else ():
        if path not in splits:
            (listing.dropped if nowhere else listing.skipped).add("in_no_split_of_the_yaml", path)
    return {path: splits[path] for path in images if path in splits}


def _by_folder(images: Iterable[str]) -> dict[str, list[str]]:
    """Return the images at any depth below every folder."""
    below: dict[str, list[str]] = {}
    for path in images:
        for folder in PurePosixPath(path).parents:
            below.setdefault(str(folder), []).append(path)
    return below


def _resolve(file: DatasetYaml, entry: str, exists: Callable[[str], bool]) -> str | None:
    """Return the path below the source that an entry of the yaml refers to, from the yaml's folder or one above it."""
    parts = [part for part in f"{file.root}/{entry}".replace("\\", "/").split("/") if part not in ("", ".", "..")]
    bases = map(str, PurePosixPath(file.path).parents)
    ends = (
        posixpath.normpath(posixpath.join(base, *parts[start:])) for base in bases for start in range(len(parts) or 1)
    )
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
    return next(filter(None, map(split_of_name, reversed(path.split("/")[:-1]))), None)


def label_paths(image: str) -> tuple[str, ...]:
    """Return where the label file of an image may be: with the last folder `images` called `labels`, or beside it."""
    head, images, tail = f"/{image}".rpartition("/images/")
    beside = str(PurePosixPath(image).with_suffix(".txt"))
    in_labels = str(PurePosixPath(f"{head}/labels/{tail}").with_suffix(".txt")).removeprefix("/") if images else beside
    return in_labels, beside


def other_label_paths(image: str) -> tuple[str, ...]:
    """Return where else the label file may be, in lower case: below `JPEGImages`, or in another case."""
    match = _IMAGE_FOLDER.fullmatch(f"/{image}")
    others = [f"{match[1]}labels/{match[2]}".removeprefix("/")] if match else []
    return tuple(str(PurePosixPath(path).with_suffix(".txt")).casefold() for path in (*others, image))
