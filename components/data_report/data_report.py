"""The data report step: one HTML page with statistics, problems and examples of a data set."""

import logging
from pathlib import Path

from components.data_report.duplicates import find_duplicates
from components.data_report.page import render_page
from components.data_report.statistics import statistics_of
from components.shared.dataset.annotations import digest, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.label_spaces import space_of_faces
from components.shared.report.thumbnails import Thumbnails
from serving.runtime.errors import InputError
from serving.runtime.output import check_output, write_text

_log = logging.getLogger(__name__)


def data_report(images: Path, annotations: Path, report: Path, *, label_space: str) -> dict[str, float]:
    """Write the page about a data set. Equal inputs give equal bytes; the page stays below 2 MB whatever their size.

    Args:
        images: the folder of image archives. It may contain images without annotations.
        annotations: the COCO file.
        report: the HTML file to write.
        label_space: the name of the label space whose classes are counted and shown; "" counts faces alone.

    Returns:
        Metrics by name: `images`, `faces` and `persons`; `classes` of the label space that have a face, and their
        `imbalance` (the largest over the smallest, 0 without classes); groups of duplicates: equal files, images that
        look alike and are not all one file, and either across splits; persons across splits; images that earlier steps
        dropped, and images of the annotations that are `missing` in the archive.

    Raises:
        InputError: an unknown label space, annotations or archives that cannot be read, no images, or a report
            that would overwrite an input.
    """
    check_output(report, images, annotations)
    space = space_of_faces(label_space)
    content = read_annotations(annotations)
    archive = ImageArchive(images)
    if not content.images:
        raise InputError(f"{annotations}: contains no images, so there is nothing to report")
    ordered = sorted(content.images, key=lambda image: image.id)
    statistics = statistics_of(ordered, space)
    duplicates = find_duplicates(ordered, statistics.classes_of)
    missing = [image.file_name for image in ordered if image.file_name not in archive]
    about = {"digest": digest(annotations), "info": content.info, "missing": missing}
    page = render_page(ordered, space, statistics, duplicates, Thumbnails(archive), **about)
    write_text(report, page)
    _log.info("%s: %d images, %d faces, %.0f kB", report, statistics.images, statistics.faces, len(page) / 1000)
    return {
        "images": statistics.images,
        "faces": statistics.faces,
        "persons": len(statistics.persons.names),
        "classes": len(statistics.classes.present),
        "imbalance": statistics.classes.imbalance,
        "exact_duplicate_groups": len(duplicates.exact),
        "near_duplicate_groups": len(duplicates.near),
        "duplicates_across_splits": len(duplicates.crossing),
        "crossing_persons": len(statistics.persons.crossing),
        "dropped": sum(content.info.dropped.values()),
        "missing": len(missing),
    }
