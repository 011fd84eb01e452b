"""What a folder of raw data looks like: the formats that its names and the heads of a few of its files speak for."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from components.ingest.formats.class_names import is_known_value
from components.ingest.formats.folders.class_tree import Folder, described, read_tree
from components.ingest.formats.folders.profile import MASK_OF_STEM
from components.ingest.formats.folders.profile_table import parse_folder
from components.ingest.formats.tables.evaluation import EvaluationOptions
from components.ingest.formats.tables.fer2013 import TABLES
from components.ingest.formats.tables.manifest_columns import ManifestOptions, read_layout
from components.ingest.formats.yolo.dataset import label_paths
from components.ingest.formats.yolo.rows import is_label_text
from components.ingest.sources.source import Source
from components.shared.dataset.encodings import decode
from components.shared.dataset.table import Table, parse_table
from components.shared.dataset.text import is_hidden, is_image_name
from serving.runtime.errors import InputError

_MANIFEST = ManifestOptions().manifest
_INFO = EvaluationOptions().table
_HEAD = 64 * 2**10
_FILES = 8
# Of the pictures, as the option `max_dropped` has it.
_BESIDE = 0.05
_SHOWN = 5
_IMAGE_ID = "ImageID"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A format that the data may have, and what speaks for it."""

    format: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.format}: {self.evidence}"


@dataclass(frozen=True, slots=True)
class _Tree:
    """The names of a source's files by kind, and the heads of a few of them."""

    pictures: list[str]
    by_suffix: dict[str, list[str]]
    heads: dict[str, bytes]

    def matching(self, suffix: str, test: Callable[[bytes], bool]) -> list[str]:
        """Return the files with an extension whose head passes a test, of those that were read."""
        return [path for path in self.by_suffix.get(suffix, ()) if path in self.heads and test(self.heads[path])]

    def files(self, matching: Sequence[str], suffix: str, what: str) -> str:
        """Say how many files there are, or an example where only some of those that were read match."""
        read = [path for path in self.by_suffix[suffix] if path in self.heads]
        kind = suffix[1:].upper()
        if len(matching) < len(read) or len(matching) == 1:
            return f"the {kind} file {matching[0]} has {what}"
        return f"{len(self.by_suffix[suffix])} {kind} files with {what}, beside {len(self.pictures)} pictures"


def recognize(source: Source) -> Candidate:
    """Return the one format that a source has.

    Raises InputError when nothing or more than one thing speaks for a format, with what does.
    """
    tree = _tree(source)
    found, unclear = _candidates(tree)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{source.uri}: more than one format is possible, name the right one with 'format': "
            f"{'; '.join(map(str, found))}"
        )
    suffixes = Counter(posixpath.splitext(path)[1].lower() or "no extension" for path in source.paths)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(_SHOWN)) or "no files"
    folders = ", ".join(sorted({path.split("/")[0] for path in source.paths if "/" in path})[:_SHOWN]) or "none"
    raise InputError(
        f"{source.uri}: the layout is not recognized; name it with 'format', 'photos' where nothing is labeled. Files: "
        f"{listed}; folders: "
        f"{folders}. {unclear}"
    )


def candidates(source: Source) -> list[Candidate]:
    """Return the formats that something speaks for; class folders only where nothing else does."""
    return _candidates(_tree(source))[0]


def _candidates(tree: _Tree) -> tuple[list[Candidate], str]:
    """Return the candidates, and why the pictures are not in class folders."""
    found = [Candidate(name, evidence) for name, rule in _RULES.items() if (evidence := rule(tree))]
    if found or not any("/" in path for path in tree.pictures):
        return found, ""
    counts: Counter[Folder] = Counter(tuple(path.split("/")[:-1]) for path in tree.pictures)
    try:
        classes = read_tree(counts, lambda name: is_known_value("label", name), _BESIDE, "", "No class folders")
    except InputError as error:
        return [], str(error)
    return [Candidate("class_folder", described(classes, counts, "label")[0])], ""


def _tree(source: Source) -> _Tree:
    by_suffix: dict[str, list[str]] = {}
    pictures = []
    for path in source.paths:
        if is_hidden(path):
            continue
        if is_image_name(path):
            pictures.append(path)
        else:
            by_suffix.setdefault(posixpath.splitext(path)[1].lower(), []).append(path)
    stems = {posixpath.splitext(path)[0] for path in pictures} if by_suffix else set()
    read = [path for path in (_MANIFEST, _INFO, *TABLES) if path in by_suffix.get(".csv", ())] + [
        path
        for suffix in (".json", ".xml", ".csv", ".tsv", ".txt")
        for path in _few(sorted(by_suffix.get(suffix, ()), key=lambda path: _is_beside(path, stems)))
    ]
    return _Tree(pictures, by_suffix, dict(source.heads(read, _HEAD)))


def _is_beside(path: str, stems: Set[str]) -> bool:
    return posixpath.splitext(path)[0] in stems


def _few(paths: Sequence[str]) -> list[str]:
    """Return some of the paths, spread evenly, the first and the last among them."""
    if len(paths) <= _FILES:
        return list(paths)
    return [paths[index * (len(paths) - 1) // (_FILES - 1)] for index in range(_FILES)]


def _json_with(*keys: str, start: bytes = b"", without: Sequence[str] = ()) -> Callable[[bytes], bool]:
    """Make a test for heads of JSON files that have all the keys."""

    def test(head: bytes) -> bool:
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        has = [re.search(rb'"' + key.encode() + rb'"\s*:', text) is not None for key in (*keys, *without)]
        return text.startswith(start) and all(has[: len(keys)]) and not any(has[len(keys) :])

    return test


def _json_rule(what: str, *tests: Callable[[bytes], bool]) -> Callable[[_Tree], str]:
    def rule(tree: _Tree) -> str:
        found = tree.matching(".json", lambda head: any(test(head) for test in tests))
        return tree.files(found, ".json", what) if found else ""

    return rule


def _xml_rule(root: bytes, what: str) -> Callable[[_Tree], str]:
    def rule(tree: _Tree) -> str:
        pattern = re.compile(rb"<(?:\w+:)?" + root + rb"[\s>]")
        found = tree.matching(".xml", lambda head: pattern.search(head.replace(b"\0", b"")) is not None)
        return tree.files(found, ".xml", what) if found else ""

    return rule


def _profile(tree: _Tree) -> str:
    folders = dict.fromkeys(
        posixpath.basename(folder)
        for folder, name in map(posixpath.split, tree.pictures)
        if posixpath.splitext(name)[0] in MASK_OF_STEM
    )
    persons = [name for name in folders if _is_person(name)]
    return f"{len(persons)} folders called <id>_<gender>_<race>_<age>, such as {persons[0]}" if persons else ""


def _is_person(folder: str) -> bool:
    try:
        parse_folder(folder)
    except InputError:
        return False
    return True


def _manifest(tree: _Tree) -> str:
    """Say what the columns of the table hold that names pictures and something about them."""
    tables = [path for suffix in (".csv", ".tsv") for path in tree.by_suffix.get(suffix, ())]
    named = [path for path in tables if path == _MANIFEST]
    is_one_a_split = len({posixpath.basename(path) for path in tables}) == 1
    for path in named or (tables[:1] if is_one_a_split else ()):
        table = _table(tree, path)
        if table is None or _IMAGE_ID in table.header:
            continue
        pictures = {posixpath.basename(picture).casefold() for picture in tree.pictures}
        cells = (cell for row in table.rows for cell in row.cells.values())
        if not any(re.split(r"[/\\]", cell)[-1].casefold() in pictures for cell in cells):
            continue
        try:
            layout = read_layout(table, ManifestOptions(), path)
        except InputError:  # The reader says what is unclear, and which option helps.
            return f"{path} names pictures"
        if layout.labels or layout.box or layout.one_hot:
            return f"{path} has {layout}"
    return ""


def _fer2013(tree: _Tree) -> str:
    for path in TABLES:
        if path in tree.heads and {"emotion", "pixels"} <= _columns(tree.heads[path]):
            return f"{path} has the columns emotion and pixels"
    return ""


def _columns(head: bytes) -> set[str]:
    """Return the columns of a table whose rows may be longer than its head."""
    return {cell.strip(' "\r').lower() for cell in head.split(b"\n")[0].decode("utf-8-sig", "replace").split(",")}


def _evaluation(tree: _Tree) -> str:
    table = _table(tree, _INFO)
    return f"{_INFO} has the column {_IMAGE_ID}" if table is not None and _IMAGE_ID in table.header else ""


def _table(tree: _Tree, path: str) -> Table | None:
    """Return the first rows of a table; None where there is no such table, or none that can be read."""
    head = tree.heads.get(path, b"")
    whole = head if len(head) < _HEAD else head[: head.rfind(b"\n") + 1]
    try:
        return parse_table(decode(whole, path).text, path, ()) if whole else None
    except InputError:
        return None


def _yolo(tree: _Tree) -> str:
    texts = set(tree.by_suffix.get(".txt", ()))
    labels = {path for picture in tree.pictures for path in label_paths(picture) if path in texts}
    read = {path: tree.heads[path].strip() for path in labels & tree.heads.keys()}
    rows = any(map(is_label_text, read.values()))
    are_empty = not any(read.values()) and any("labels/" in path for path in read)
    if not rows and not are_empty:
        return ""
    what = "with rows of a class and shares" if rows else "empty"
    return f"{len(labels)} texts for {len(tree.pictures)} pictures, {what}"


_RULES: Mapping[str, Callable[[_Tree], str]] = {
    "profile": _profile,
    "aihub": _json_rule("'faceExp_uploader'", _json_with("faceExp_uploader")),
    "coco": _json_rule(
        "'images' with 'file_name', or annotations with 'image_id'",
        _json_with("images", "file_name", start=b"{"),
        _json_with("annotations", "image_id", start=b"{"),
        _json_with("categories", "supercategory", start=b"{"),
    ),
    "labelme": _json_rule("'shapes'", _json_with("shapes", start=b"{", without=("image_id",))),
    "label_studio": _json_rule(
        "the annotations of tasks",
        _json_with("data", "annotations"),
        _json_with("data", "completions"),
        _json_with("annotation_id", "annotator"),
        _json_with("task", "result", start=b"{"),
    ),
    "voc": _xml_rule(b"annotation", "<annotation>"),
    "cvat": _xml_rule(b"annotations", "<annotations>"),
    "yolo": _yolo,
    "manifest": _manifest,
    "fer2013": _fer2013,
    "evaluation": _evaluation,
}
