"""Finding the COCO files of a source, their split, and the folder of their images."""

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.ingest.formats.listing import Listing, split_of_name
from components.ingest.sources.source import Source
from components.shared.dataset.paths import PathResolver
from components.shared.dataset.text import composed, finite_json, is_hidden
from components.shared.dataset.vocabulary import SPLITS
from serving.runtime.errors import InputError

_DIGITS = "0123456789"
_SHOWN = 5
# Half of a character, alone, is valid in JSON and in no other text.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One COCO file: its path, the split that its name tells, the folder names of that split, and its lists."""

    path: str
    split: str | None
    folders: tuple[str, ...]
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    info: dict[str, Any]


def coco_files(
    source: Source, named: str | Collection[str] | Mapping[str, str], listing: Listing
) -> Iterator[CocoFile]:
    """Yield the named COCO files, or else every JSON file that is COCO, one in memory at a time.

    Raises InputError on a file that is missing, not JSON or, being named, not COCO, and when there is none.
    """
    splits = {path: split for split, path in named.items()} if isinstance(named, Mapping) else {}
    paths = [named] if isinstance(named, str) else list(splits or named)
    for path in paths:
        source.require(path, "annotation file", "annotations")
    candidates = [path for path in source.paths if path.lower().endswith(".json")]
    others: list[str] = []
    count = 0
    for path in paths or candidates:
        if is_hidden(path):
            listing.skipped.add("hidden", path)
            continue
        document = _load(source, path)
        file = _coco_file(document, path, splits.get(path))
        if file is not None:
            count += 1
            yield file
            continue
        holds = f"keys {', '.join(list(document)[:_SHOWN])}" if isinstance(document, dict) else type(document).__name__
        if paths:
            raise InputError(
                f"{source.uri}/{path}: not COCO; expected an object with the lists 'images' and 'annotations', it is a "
                f"JSON {holds}"
            )
        others.append(f"{path} ({holds})")
        listing.skipped.add("not_coco", path)
    for path in candidates if paths else ():
        if path not in paths:
            listing.skipped.add("not_named", path)
    if not count:
        shown = ", ".join(others[:_SHOWN]) if others else f"no JSON file among {', '.join(source.paths[:_SHOWN])}"
        raise InputError(f"{source.uri}: no COCO file; expected JSON with 'images' and 'annotations', there is {shown}")


def _load(source: Source, path: str) -> Any:
    text = source.read_text(path)
    try:
        document = finite_json(text)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{source.uri}/{path}: not a JSON file: {error}; repair it, or name the annotation files with the option "
            f"'annotations'"
        ) from error
    return document


def _coco_file(document: Any, path: str, split: str | None) -> CocoFile | None:
    if not isinstance(document, dict) or not all(isinstance(document.get(k), list) for k in ("images", "annotations")):
        return None
    info = document.get("info")
    word = _split_word(path)
    names = [] if word is None else [word, word.rstrip(_DIGITS), SPLITS[word.rstrip(_DIGITS).lower()]]
    split = split or (names[-1] if names else None)
    return CocoFile(
        path,
        split,
        tuple(dict.fromkeys([*names, split] if split else names)),
        _objects(document["images"]),
        _objects(document["annotations"]),
        _objects(document.get("categories")),
        info if isinstance(info, dict) else {},
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects; an entry that is something else is an empty one, and no list has no entries."""
    return [entry if isinstance(entry, dict) else {} for entry in value] if isinstance(value, list) else []


def _split_word(path: str) -> str | None:
    """Return the word of a path that names its split: `val2017` of `annotations/instances_val2017.json`.

    The file name counts before its folders, the nearest folder first. Two different splits in one name tell nothing.
    """
    *folders, file = path.split("/")
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.removesuffix(".json")) if _is_split(word)]
    if words:
        return words[0] if len({SPLITS[word.rstrip(_DIGITS).lower()] for word in words}) == 1 else None
    return next(filter(_is_split, reversed(folders)), None)


def _is_split(word: str) -> bool:
    return word.rstrip(_DIGITS).lower() in SPLITS


def image_root(file: CocoFile, folder: str | None, available: Collection[str]) -> tuple[str, list[str]]:
    """Return the folder that the file's image names are relative to, and all folders that were tried.

    Of the likely folders (below the named one, or else around the file and its parents) the one where most of the
    images are counts for the whole file, so that a missing image is never taken from another folder. Where most names
    are not relative to any of them, it is the one where most of the images are found by the ends of their paths.
    """
    names = [composed(record["file_name"]) for record in file.images if isinstance(record.get("file_name"), str)]
    if folder is not None:
        bases = [posixpath.normpath(folder).strip("/")]
    else:
        parts = file.path.split("/")[:-1]
        parents = ["/".join(parts[:depth]) for depth in range(len(parts), -1, -1)]
        bases = [base for parent in parents for base in (posixpath.join(parent, "images"), parent)]
    roots = [composed(posixpath.join(base, split)) for base in bases for split in (*file.folders, "")]
    roots = list(dict.fromkeys("" if root in ("", ".") else posixpath.normpath(root) for root in roots))
    hits: list[int] = []
    for root in roots:
        hits.append(sum(below(root, name) in available for name in names))
        if hits[-1] == len(names):
            return root, roots
    if 2 * max(hits) < len(names):
        resolvers = [resolver_below(root, file.split, available) for root in roots]
        hits = [sum(resolver.resolve(name) is not None for name in names) for resolver in resolvers]
    return roots[hits.index(max(hits))], roots


def below(root: str, name: str) -> str:
    """Return the path of a name that is relative to a folder."""
    return posixpath.normpath(f"{root}/{name}" if root else name)


def resolver_below(root: str, split: str | None, available: Iterable[str]) -> PathResolver:
    """Return the resolver of the paths below a folder, without those in folders of another split."""
    inside = f"{root}/" if root else ""
    folders: dict[str, bool] = {}
    paths = []
    for path in available:
        if path.startswith(inside):
            folder = path.removeprefix(inside).rpartition("/")[0]
            if folder not in folders:
                splits = {split_of_name(name) for name in folder.split("/")} - {None}
                folders[folder] = split is None or splits <= {split}
            if folders[folder]:
                paths.append(path)
    return PathResolver(paths, root)
