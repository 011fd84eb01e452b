"""A data set as one HTML page: what is in it, what is wrong with it, and what it looks like."""

import logging
from dataclasses import dataclass
from pathlib import Path

from components.data_report.annotators import count_votes
from components.data_report.copies import find_copies
from components.data_report.examples import choose_examples
from components.data_report.facts import collect
from components.data_report.page import Subject, render
from components.data_report.sizes import measure
from components.data_report.tables import tally_of
from components.data_report.thumbnails import Thumbnails
from components.shared.dataset import label_spaces
from components.shared.dataset.annotations import digest, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.output_file import write_whole
from serving.runtime.errors import InputError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataReport:
    """The figures of the page.

    Attributes:
        images: images, and likewise `faces` and `persons` (0 when nobody is known).
        classes: classes of the label space that have a face.
        imbalance: faces of the largest class over those of the smallest one that has any; 0 without classes.
        exact_duplicate_groups: groups of equal files.
        near_duplicate_groups: groups of pictures that look alike and are not all one file.
        duplicates_across_splits: groups of either kind with images in several splits.
        crossing_persons: persons with images in several splits.
        dropped: images that were left out so far, by all steps.
        missing: images of the annotations that are not in the archive.
    """

    images: int
    faces: int
    persons: int
    classes: int
    imbalance: float
    exact_duplicate_groups: int
    near_duplicate_groups: int
    duplicates_across_splits: int
    crossing_persons: int
    dropped: int
    missing: int


def data_report(images: Path, annotations: Path, report: Path, *, label_space: str) -> DataReport:
    """Write the page about a data set. Equal inputs give equal bytes; the page stays below 2 MB whatever their size.

    Args:
        images: the folder of image archives. It may hold more pictures than the annotations tell of.
        annotations: the COCO file.
        report: the HTML file to write.
        label_space: the name of the label space whose classes are counted and shown.

    Raises:
        InputError: an unknown label space, annotations or archives that cannot be read, or a report that would
            replace an input.
    """
    _refuse_overlap(report, images, annotations)
    space = label_spaces.label_space(label_space)
    data = read_annotations(annotations)
    archive = ImageArchive(images)
    if not data.images:
        raise InputError(f"{annotations}: there is no image in it, so there is nothing to report")
    ordered = sorted(data.images, key=lambda image: image.id)
    facts = collect(ordered, space)
    copies = find_copies(ordered, facts.classes_of)
    missing = tuple(image.file_name for image in ordered if image.file_name not in archive)
    page = render(
        Subject(space, digest(annotations), data.info, missing),
        facts,
        measure(ordered),
        copies,
        count_votes(ordered),
        choose_examples(ordered, facts.classes_of, space.class_labels),
        Thumbnails(archive),
    )
    write_whole(report, page)
    _log.info("%s: %d images, %d faces, %.0f kB", report, facts.images, facts.faces, len(page) / 1000)
    return DataReport(
        images=facts.images,
        faces=facts.faces,
        persons=len(facts.persons.names),
        classes=int((facts.classes.totals > 0).sum()),
        imbalance=facts.classes.imbalance,
        exact_duplicate_groups=len(copies.exact),
        near_duplicate_groups=len(copies.near),
        duplicates_across_splits=len(copies.crossing),
        crossing_persons=len(facts.persons.crossing),
        dropped=sum(tally_of(data.info, "dropped").values()),
        missing=len(missing),
    )


def _refuse_overlap(report: Path, images: Path, annotations: Path) -> None:
    target = report.resolve()
    if target == annotations.resolve() or target.is_relative_to(images.resolve()):
        raise InputError(f"{report}: the report would replace an input or lie in it; name another file")
