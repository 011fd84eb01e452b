"""Writes a data set as a folder for people and other tools."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.dataset import label_spaces
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import SPLITS, Choice, ExportOptions, Remarks, choose
from components.shared.dataset.export.coco_tree import export_coco
from components.shared.dataset.export.files import by_split, write_mapper
from components.shared.dataset.export.profile_lists import export_profile_lists
from components.shared.dataset.export.yolo import export_yolo_classification, export_yolo_detection
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.options import parse_options
from serving.runtime.errors import InputError
from serving.runtime.output import check_output, whole_folder
from serving.runtime.validation import known

_log = logging.getLogger(__name__)

Tree = Callable[[Path, list[Choice], ImageArchive, LabelSpace, Remarks], tuple[list[Choice], dict[str, str]]]
TREES: dict[str, Tree] = {
    "coco": export_coco,
    "yolo_detection": export_yolo_detection,
    "yolo_classification": export_yolo_classification,
}
LAYOUTS = (*TREES, "profile_lists")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The result.

    Attributes:
        images: images per split; a split without images is absent.
        faces: faces of these images.
        left_out: images that are not in the export, by reason.
        notes: images, or splits and classes, that are noted, by reason.
    """

    images: dict[str, int]
    faces: int
    left_out: dict[str, int]
    notes: dict[str, int]


def export_dataset(
    images: Path,
    annotations: Path,
    output: Path,
    *,
    layout: str = "coco",
    label_space: str = "emotion",
    options: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Write the images of a data set into a folder that is complete or does not appear, in one of LAYOUTS.

    Files keep their bytes and get ASCII names from their content; `filename_mapper.json` tells the original names.
    Equal inputs give equal bytes. The inputs are not changed.

    Args:
        images: the folder of image archives.
        annotations: the COCO file.
        output: the folder to write; it must be new or empty, and outside of `images`.
        layout: coco, yolo_detection, yolo_classification or profile_lists (which needs no image).
        label_space: the classes, for layouts with classes: the name of a label space.
        options: see ExportOptions.

    Raises:
        InputError: an unknown layout, option or label space, an output that is not free, or nothing to export.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout '{layout}'{known(layout, LAYOUTS)}")
    settings = parse_options(ExportOptions, options or {}, "options of the export")
    check_output(output, images, annotations)
    space = label_spaces.label_space(label_space)
    data = read_annotations(annotations)
    remarks = Remarks()
    chosen = choose(data, space, settings, remarks)
    with whole_folder(output) as folder:
        if layout in TREES:
            archive = ImageArchive(images)
            if layout == "yolo_detection":
                classes = space if settings.classes == "label_space" else None
                kept, paths = export_yolo_detection(folder, chosen, archive, classes, remarks)
            else:
                kept, paths = TREES[layout](folder, chosen, archive, space, remarks)
            write_mapper(folder, paths, kept, space, remarks)
        else:
            kept = export_profile_lists(folder, chosen, remarks)
        if not kept:
            raise InputError(f"{annotations}: no image to export as {layout} ({space.name}): {remarks.left_out.counts}")
    report = ExportReport(
        images={split: len(members) for split, members in by_split(kept).items()},
        faces=sum(len(choice.faces) for choice in kept),
        left_out=remarks.left_out.counts,
        notes=remarks.notes.counts,
    )
    _log.info("%s: %s, left out %s, noted %s", output, report.images, report.left_out, report.notes)
    missing = [split for split in SPLITS if split not in report.images]
    if missing:
        _log.warning("%s: no image in %s; a trainer may refuse the data set", output, ", ".join(missing))
    return report
