"""The annotation files of a source and its pictures."""

from collections.abc import Callable, Iterator, Set
from typing import TypeVar

from components.ingest.formats.listing import Listing, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.text import is_hidden

ResultT = TypeVar("ResultT")


def annotation_files(source: Source, suffix: str) -> set[str]:
    """Return the files of a source with this suffix, in any case of its letters."""
    return {path for path in source.paths if path.lower().endswith(suffix) and not is_hidden(path)}


def pictures_of(source: Source, others: Set[str], listing: Listing) -> set[str]:
    """Return the pictures of a source, which also has `others`, files that are read."""
    return set(image_paths((path for path in source.paths if path not in others), listing))


def read_each(
    source: Source, files: Set[str], read: Callable[[str, bytes, Listing], ResultT | None], listing: Listing
) -> Iterator[ResultT]:
    """Read each file with `read(path, content, listing)`, one in memory at a time, and yield what it makes of them.

    The results and what is counted come in the order of the paths, in whichever order the files lie in an archive. A
    damaged file counts as a lost image.
    """
    results = {}
    for path, data in source.stream(files):
        counted = Listing()
        result = read(path, data, counted)
        tallies = [counted.dropped, counted.lost, counted.skipped, counted.notes]
        results[path] = result, tallies if any(tally.total for tally in tallies) else []
    for path in sorted(files - results.keys()):
        listing.dropped.add("unreadable_annotation_file", path)
    for _, (result, tallies) in sorted(results.items(), key=lambda item: item[0]):
        for tally, added in zip((listing.dropped, listing.lost, listing.skipped, listing.notes), tallies, strict=False):
            tally.update(added)
        if result is not None:
            yield result


def skip_others(pictures: Set[str], described: Set[str | None], listing: Listing) -> None:
    """Count the pictures that the annotations do not mention."""
    for path in sorted(pictures - described):
        listing.skipped.add("not_in_the_annotations", path)
