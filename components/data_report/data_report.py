"""The data report step: one HTML page with statistics, problems and examples of a data set."""

import logging
from dataclasses import dataclass
from pathlib import Path

from components.data_report.annotators import count_votes
from components.data_report.duplicates import find_duplicates
from components.data_report.examples import choose_examples
from components.data_report.page import DataSet, render_page
from components.data_report.sizes import measure_sizes
from components.data_report.statistics import statistics_of
from components.data_report.thumbnails import Thumbnails
from components.shared.dataset import label_spaces
from components.shared.dataset.annotations import digest, read_annotations
from components.shared.dataset.archive import ImageArchive
from serving.runtime.errors import InputError
from serving.runtime.output import check_output, write_text

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataReport:
    """The metrics of the data set.

    Attributes:
        images: images, and likewise `faces` and `persons` (0 when no image has a person id).
        classes: classes of the label space that have a face.
        imbalance: faces of the largest class over those of the smallest one that has any; 0 without classes.
        exact_duplicate_groups: groups of equal files.
        near_duplicate_groups: groups of images that look alike and are not all one file.
        duplicates_across_splits: groups of either kind with images in several splits.
        crossing_persons: persons with images in several splits.
        dropped: images that earlier steps left out.
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
        images: the folder of image archives. It may contain images without annotations.
        annotations: the COCO file.
        report: the HTML file to write.
        label_space: the name of the label space whose classes are counted and shown.

    Raises:
        InputError: an unknown label space, annotations or archives that cannot be read, no images, or a report
            that would overwrite an input.
    """
    check_output(report, images, annotations)
    space = label_spaces.label_space(label_space)
    content = read_annotations(annotations)
    archive = ImageArchive(images)
    if not content.images:
        raise InputError(f"{annotations}: contains no images, so there is nothing to report")
    ordered = sorted(content.images, key=lambda image: image.id)
    statistics = statistics_of(ordered, space)
    data = DataSet(
        space=space,
        digest=digest(annotations),
        info=content.info,
        missing=tuple(image.file_name for image in ordered if image.file_name not in archive),
        statistics=statistics,
        sizes=measure_sizes(ordered),
        duplicates=find_duplicates(ordered, statistics.classes_of),
        votes=count_votes(ordered),
        examples=choose_examples(ordered, statistics.classes_of, space.class_labels),
    )
    page = render_page(data, Thumbnails(archive))
    write_text(report, page)
    _log.info("%s: %d images, %d faces, %.0f kB", report, statistics.images, statistics.faces, len(page) / 1000)
    return _metrics(data)


def _metrics(data: DataSet) -> DataReport:
    statistics, duplicates = data.statistics, data.duplicates
    return DataReport(
        images=statistics.images,
        faces=statistics.faces,
        persons=len(statistics.persons.names),
        classes=len(statistics.classes.present),
        imbalance=statistics.classes.imbalance,
        exact_duplicate_groups=len(duplicates.exact),
        near_duplicate_groups=len(duplicates.near),
        duplicates_across_splits=len(duplicates.crossing),
        crossing_persons=len(statistics.persons.crossing),
        dropped=sum(data.info.dropped.values()),
        missing=len(data.missing),
    )
