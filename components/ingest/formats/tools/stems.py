"""Pictures by their names without an extension, for annotation files that are called after their picture."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable
from itertools import takewhile

from components.ingest.formats.listing import Listing
from components.shared.dataset.paths import PathResolver
from components.shared.dataset.text import composed


class PictureFiles:
    """The picture of each annotation file."""

    def __init__(self, pictures: Iterable[str], folder: str | None, annotation_files: Iterable[str]) -> None:
        """Take the pictures, the folder that the option `images` names, and the annotation files."""
        root = f"{folder.strip('/')}/" if folder and folder.strip("./") else ""
        self.paths = {path for path in map(composed, pictures) if path.startswith(root)}
        self.resolver = PathResolver(self.paths, root)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_parent: dict[tuple[str, str], list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            self._by_stem[_stem(path)].append(path)
            self._by_parent[posixpath.basename(posixpath.dirname(path)), _stem(path)].append(path)
        self._annotated = {_stem(path) for path in annotation_files}

    def find(self, annotation: str, written: str, listing: Listing, missing: str = "missing_file") -> str | None:
        """Return the picture of an annotation file that names `written` as its picture; None, counted, without one.

        The picture that is called like the annotation file counts before another one that it names, as tools that
        rename or convert pictures leave the old name inside. Where both exist, and no other annotation file is called
        like the named picture, nobody knows which is meant. One that is not there counts as `missing`.
        """
        own, ambiguous = self._like(annotation, _suffix(written))
        if own is not None and written and _stem(written) == _stem(annotation):
            if _suffix(written) != _suffix(own):
                listing.notes.add("other_extension", f"{annotation}: {written} is {own}")
            return own
        named = self.resolver.resolve(written) if written else None
        if own is not None and named not in (None, own) and _stem(str(named)) not in self._annotated:
            listing.dropped.add("conflicting_file_name", f"{annotation}: {written}, or {own}")
            return None
        if own is None and named is None and not ambiguous:
            named, ambiguous = self._like(written, "") if written else (None, False)
        found = own or named
        if found is None:
            ambiguous = ambiguous or self.resolver.reason(written) == "ambiguous_path"
            listing.dropped.add(
                "ambiguous_path" if ambiguous else missing, f"{annotation}: {written or 'no file name'}"
            )
        elif own is not None and own != named:
            listing.notes.add("file_name_differs" if written else "no_file_name", f"{annotation}: {written} is {own}")
        return found

    def _like(self, name: str, suffix: str) -> tuple[str | None, bool]:
        """Return the picture of the same stem whose folders are most alike, and whether there are several.

        Those in a folder of the same name come first.
        """
        folders, stem = composed(name).split("/")[:-1], _stem(name)
        candidates = self._by_parent.get((folders[-1] if folders else "", stem)) or self._by_stem.get(stem, [])
        if not candidates:
            return None, False
        scores = {path: _alike(folders, path.split("/")[:-1]) for path in candidates}
        highest = max(scores.values())
        best = [path for path in candidates if scores[path] == highest]
        if len(best) > 1:
            best = [path for path in best if _suffix(path) == suffix] or best
        return (best[0], False) if len(best) == 1 else (None, True)


def _stem(path: str) -> str:
    name = composed(path).replace("\\", "/").rpartition("/")[2]
    return posixpath.splitext(name)[0].casefold()


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1]


def _alike(first: list[str], second: list[str]) -> int:
    """Count the folders that two paths share at their beginnings and at their ends."""

    def shared(pairs: Iterable[tuple[str, str]]) -> int:
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    return shared(zip(first, second, strict=False)) + shared(zip(reversed(first), reversed(second), strict=False))
