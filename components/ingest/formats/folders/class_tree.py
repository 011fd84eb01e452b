"""Which folders of a tree are the classes and which the splits, told from the whole tree."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from components.ingest.formats.listing import split_of_name
from components.shared.dataset.text import some
from components.shared.dataset.vocabulary import SPLITS
from serving.runtime.errors import InputError

Folder = tuple[str, ...]
"""The names of a folder and of those above it, the top one first."""

_ROLES = ("<split>", "<class>", "<person>")
_ANY = "<any>"
# FER2013 calls its validation and test images so.
_FER2013 = {"publictest": "val", "privatetest": "test"}
_SHOWN = 20
_SHOWN_FOLDERS = 5
_SHOWN_DEPTH = 5
# So many pictures beside the class folders are strays, whatever their share.
_STRAYS = 3
_IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data", "raw", "jpg", "png"}
_SIDE_FOLDERS = {
    "labels",
    "annotations",
    "masks",
    "mask_images",
    "segmentationclass",
    "segmentationobject",
    "labelstxt",
}
# Folders below a class are often called after where a picture comes from.
_ORIGINS = {"cam", "camera", "person", "subject", "user", "id", "session", "sequence", "seq", "clip", "video", "scene",
            "batch", "part", "view"}  # fmt: skip


class _UnclearError(Exception):
    """Why the folders of a tree do not tell which are the classes."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What the pictures of a folder are."""

    label: str
    split: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class ClassTree:
    """The folders of a tree that have a class.

    Attributes:
        template: the folders as the option `folders` writes them, such as `pets/<split>/<class>`.
        placements: what the pictures of each folder are.
        unlabeled: the folders in a split, above the class folders, that have pictures.
        beside: the other folders that have pictures and no class.
    """

    template: str
    placements: dict[Folder, Placement]
    unlabeled: frozenset[Folder] = frozenset()
    beside: frozenset[Folder] = frozenset()


def read_tree(
    counts: Mapping[Folder, int], is_value: Callable[[str], bool], beside_share: float, template: str, uri: str
) -> ClassTree:
    """Tell the classes and the splits of a tree from the number of pictures in each folder.

    Folders above that do not divide the pictures, and folders below the classes, are neither. A split may lie above
    the classes or below. `is_value` tells whether a name is a known value of the attribute; `beside_share` is the share
    of pictures that may lie beside the folders. With a `template` the folders are what it says.

    Raises InputError, with the tree, when there is one class only, when no class is in several splits, when classes
    lie at different depths, and when two levels of folders could be the classes.
    """
    try:
        if template:
            return _by_template(counts, template)
        return _told_by_tree(counts, is_value, beside_share)
    except _UnclearError as error:
        raise InputError(
            f"{uri}: {error}. The folders and their pictures:\n{_drawn(counts)}\n"
            f"Say what the folders are with the option 'folders', such as '<split>/<class>' or 'photos/<class>': "
            f"<class> is the folder that names the class, <split> the split, <person> the person, <any> another folder"
        ) from error


def _told_by_tree(counts: Mapping[Folder, int], is_value: Callable[[str], bool], beside_share: float) -> ClassTree:
    above = {folder[:depth] for folder in counts for depth in range(len(folder))}
    level, splits = _split_level(counts, above)
    rests = {
        folder: (None, folder) if level is None else (splits[folder[level]], folder[:level] + folder[level + 1 :])
        for folder in counts
        if level is None or len(folder) > level
    }
    rows = list(rests.values())
    class_level = _class_level(rows, is_value)
    placements, outside = {}, set(counts) - rests.keys()
    for folder, (split, rest) in rests.items():
        if len(rest) > class_level:
            placements[folder] = Placement(rest[class_level], split)
        else:
            outside.add(folder)
    unlabeled = frozenset(folder for folder in outside if folder in rests and level is not None)
    beside = frozenset(outside - unlabeled)
    strays = sum(counts[folder] for folder in beside)
    if strays > max(_STRAYS, beside_share * sum(counts.values())):
        raise _UnclearError(f"{strays} pictures lie beside the folders that could be classes")
    _refuse_splits_in_classes({placement.label for placement in placements.values()})
    return ClassTree(_template(rows, class_level, level), placements, unlabeled, beside)


def _split_level(folders: Collection[Folder], above: Collection[Folder]) -> tuple[int | None, dict[str, str]]:
    """Return the level of the folders that are splits, and the split of each name there; None when there is none."""
    levels: dict[int, dict[str, str]] = {}
    for level in range(max(map(len, folders))):
        names = sorted({folder[level] for folder in folders if len(folder) > level})
        splits = _splits(names)
        others = [name for name in names if name not in splits]
        if splits and (others or any(len(folder) <= level and folder not in above for folder in folders)):
            beside = ", ".join(others[:_SHOWN_FOLDERS]) or "those beside them"
            raise _UnclearError(f"some folders are splits ({', '.join(splits)}), others are not ({beside})")
        if splits:
            levels[level] = splits
    dividing = [level for level, splits in levels.items() if len(set(splits.values())) > 1] or list(levels)
    for first, second in pairwise(dividing):
        if any(
            levels[first][folder[first]] != levels[second][folder[second]] for folder in folders if len(folder) > second
        ):
            raise _UnclearError("two levels of folders are called after splits, and they differ")
    return (dividing[0], levels[dividing[0]]) if dividing else (None, {})


def _splits(names: Collection[str]) -> dict[str, str]:
    """Return the split of each name that is called after one, also of `faces_train` beside `faces_test`."""
    splits = {name: split for name in names if (split := split_of_name(name) or _FER2013.get(name.casefold()))}
    if splits:
        return splits
    parts: set[tuple[str, ...]] = set()
    for name in names:
        words = re.findall(r"[^\W\d_]+", name.casefold())
        named = [word for word in words if word in SPLITS]
        if len(named) != 1:
            return {}
        splits[name] = SPLITS[named[0]]
        parts.add(tuple(word for word in words if word not in SPLITS))
    return splits if len(parts) == 1 and len(set(splits.values())) > 1 else {}


def _class_level(rows: Collection[tuple[str | None, Folder]], is_value: Callable[[str], bool]) -> int:
    """Return the level of the class folders, in folders without their split."""
    start = 0
    while _wraps(rows, start):
        start += 1
    names = {folder[start] for _, folder in rows if len(folder) > start}
    if not names:
        raise _UnclearError("the pictures lie in no folders that could be classes")
    if len(names) > 1 and (odd := sorted(name for name in names if name.casefold() in _IMAGE_FOLDERS | _SIDE_FOLDERS)):
        raise _UnclearError(f"'{odd[0]}' lies where the classes should be, and is called like none")
    levels = [start]
    bare = {folder[start] for _, folder in rows if len(folder) == start + 1}
    if not bare:
        levels = list(range(start, min(len(folder) for _, folder in rows if len(folder) > start)))
    else:
        _refuse_depths(rows, start, bare)
    passing = [level for level in levels if _can_be_classes(rows, level, start)]
    if not passing:
        if len(names) == 1:
            raise _UnclearError(f"one class only: {next(iter(names))}")
        raise _UnclearError("the folders that could be classes are not the same in the splits")
    passing = [level for level in passing if all(is_value(name) for name in _names(rows, level))] or passing
    for level in passing[1:]:
        if _cross(rows, passing[0], level):
            examples = [", ".join(sorted(_names(rows, at))[:_SHOWN_FOLDERS]) for at in (passing[0], level)]
            raise _UnclearError(f"the classes could be {examples[0]}, or the folders in them: {examples[1]}")
    return passing[0]


def _names(rows: Collection[tuple[str | None, Folder]], level: int) -> set[str]:
    return {folder[level] for _, folder in rows if len(folder) > level}


def _by_split(rows: Collection[tuple[str | None, Folder]], level: int) -> dict[str | None, set[str]]:
    names: dict[str | None, set[str]] = defaultdict(set)
    for split, folder in rows:
        if len(folder) > level:
            names[split].add(folder[level])
    return names


def _wraps(rows: Collection[tuple[str | None, Folder]], level: int) -> bool:
    """Tell whether the folders of a level hold everything of their split, in folders of their own."""
    names, deeper = _by_split(rows, level), _by_split(rows, level + 1)
    return bool(names) and names.keys() == deeper.keys() and all(len(one) == 1 for one in names.values())


def _refuse_depths(rows: Collection[tuple[str | None, Folder]], level: int, bare: Collection[str]) -> None:
    """Raise when some folders of a level hold pictures and others only folders that could be the classes."""
    for name in sorted(_names(rows, level) - set(bare)):
        inner = {folder[level + 1] for _, folder in rows if len(folder) > level + 1 and folder[level] == name}
        if not _are_origins(inner):
            listed = ", ".join(sorted(inner)[:_SHOWN_FOLDERS])
            raise _UnclearError(
                f"classes at different depths: '{name}' holds only folders ({listed}), '{min(bare)}' holds pictures"
            )


def _can_be_classes(rows: Collection[tuple[str | None, Folder]], level: int, start: int) -> bool:
    """Tell whether there are several names, and every split has some of another."""
    by_split = _by_split(rows, level)
    names = set().union(*by_split.values())
    if len(names) < 2 or (level > start and _are_origins(names)):
        return False
    if len(by_split) < 2:
        return True
    times = Counter(name for one in by_split.values() for name in one)
    return all(any(times[name] > 1 for name in one) for one in by_split.values())


def _are_origins(names: Collection[str]) -> bool:
    """Tell whether folders are called like cameras, persons or numbers, as those below a class are."""
    words = {name: re.findall(r"[^\W\d_]+", name.casefold()) for name in names}
    if all(not found or found[0] in _ORIGINS or found[0] in _IMAGE_FOLDERS for found in words.values()):
        return True
    return len(names) > 1 and len({tuple(found) for found in words.values()}) == 1


def _cross(rows: Collection[tuple[str | None, Folder]], level: int, deeper: int) -> bool:
    """Tell whether most of the deeper names are in several folders of the level: either could be the classes."""
    parents: dict[str, set[str]] = defaultdict(set)
    for _, folder in rows:
        if len(folder) > deeper:
            parents[folder[deeper]].add(folder[level])
    return 2 * sum(len(found) > 1 for found in parents.values()) > len(parents)


def _refuse_splits_in_classes(labels: Collection[str]) -> None:
    """Raise when the classes are called `train_cat`, `test_cat`: each would be a class of its own."""
    splits = {
        label: split_of_name(word) for label in labels for word in re.split(r"[\W_]+", label) if split_of_name(word)
    }
    if len(set(splits.values())) > 1:
        raise _UnclearError(
            f"names of splits are part of those of classes: {', '.join(sorted(splits)[:_SHOWN_FOLDERS])}"
        )


def _template(rows: Collection[tuple[str | None, Folder]], class_level: int, split_level: int | None) -> str:
    parts = []
    for level in range(class_level):
        names = _names(rows, level)
        parts.append(next(iter(names)) if len(names) == 1 else _ANY)
    parts.append("<class>")
    if split_level is not None:
        parts += [_ANY] * (split_level - len(parts))
        parts.insert(split_level, "<split>")
    return "/".join(parts)


def check_template(template: str) -> str:
    """Return a template of folders, such as `pets/<split>/<class>`. Raises ValueError when it is none."""
    parts = template.strip("/").split("/")
    for role in _ROLES:
        if parts.count(role) > 1:
            raise ValueError(f"has {role} more than once")
    if "<class>" not in parts:
        raise ValueError("needs the folder <class>, such as photos/<split>/<class>")
    odd = [part for part in parts if (part.startswith("<") and part not in (*_ROLES, _ANY)) or part in ("", ".", "..")]
    if odd:
        raise ValueError(f"'{odd[0]}' is no folder; known: {', '.join(_ROLES)}, {_ANY} and names of folders")
    return "/".join(parts)


def _by_template(counts: Mapping[Folder, int], template: str) -> ClassTree:
    parts = tuple(template.split("/"))
    placements: dict[Folder, Placement] = {}
    for folder in counts:
        named = dict(zip(parts, folder, strict=False))
        if len(folder) < len(parts) or any(
            part != name for part, name in zip(parts, folder, strict=False) if part not in (*_ROLES, _ANY)
        ):
            continue
        split = split_of_name(named["<split>"]) if "<split>" in named else None
        if "<split>" in named and split is None:
            raise _UnclearError(f"'{named['<split>']}' names no split, and lies where the option 'folders' has <split>")
        placements[folder] = Placement(named["<class>"], split, named.get("<person>"))
    if not placements:
        raise _UnclearError(f"no pictures in folders like '{template}'")
    return ClassTree(template, placements, beside=frozenset(counts.keys() - placements.keys()))


def described(tree: ClassTree, counts: Mapping[Folder, int], attribute: str) -> list[str]:
    """Say what the folders are: the classes and the splits, with their pictures."""
    classes: Counter[str] = Counter()
    splits: dict[str, set[str]] = defaultdict(set)
    sizes: Counter[str] = Counter()
    for folder, placement in tree.placements.items():
        classes[placement.label] += counts[folder]
        if placement.split:
            sizes[placement.split] += counts[folder]
            splits[placement.label].add(placement.split)
    lines = [f"folders: {tree.template}; {attribute} is the folder <class>: {_listed(classes)}"]
    if sizes:
        lines.append(f"splits are the folders <split>: {_listed(sizes)}")
        single = sorted(f"{label} ({next(iter(found))})" for label, found in splits.items() if len(found) == 1)
        if single and len(sizes) > 1:
            lines.append(f"classes in one split only: {', '.join(single[:_SHOWN])}")
    return lines


def _listed(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return some([f"{name} {count}" for name, count in ordered], _SHOWN)


def _drawn(counts: Mapping[Folder, int]) -> str:
    """Return the tree with the number of pictures in and below each folder, its first folders only."""
    totals: Counter[Folder] = Counter()
    children: dict[Folder, set[Folder]] = defaultdict(set)
    for folder, count in counts.items():
        for depth in range(len(folder) + 1):
            totals[folder[:depth]] += count
        for depth in range(len(folder)):
            children[folder[:depth]].add(folder[: depth + 1])

    def lines(folder: Folder) -> Iterable[str]:
        indent = "  " * len(folder)
        if counts.get(folder) and children[folder]:
            yield f"{indent}(pictures) {counts[folder]}"
        inner = sorted(children[folder])
        for child in inner[:_SHOWN_FOLDERS]:
            yield f"{indent}{child[-1]}/ {totals[child]}"
            if len(child) < _SHOWN_DEPTH:
                yield from lines(child)
        if len(inner) > _SHOWN_FOLDERS:
            rest = inner[_SHOWN_FOLDERS:]
            yield f"{indent}and {len(rest)} more folders {sum(totals[child] for child in rest)}"

    return "\n".join(lines(())) or f"(pictures) {totals[()]}"
