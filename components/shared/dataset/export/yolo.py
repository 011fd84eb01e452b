"""Writes YOLO data sets: detection with its yaml, and classification."""

from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

from components.shared.dataset.annotations import Box
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import SPLITS, Choice, Remarks, labeled
from components.shared.dataset.export.files import (
    Convert,
    ascii_names,
    by_split,
    write_class_tree,
    write_file,
    write_images,
)
from components.shared.dataset.label_spaces import FACE, LabelSpace

YAML = "yolo-dataset.yaml"
# YOLO trainers skip other files silently.
_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

MIN_SIDE = 10
"""YOLO trainers drop a picture with a smaller side, in pixels."""
_DECIMALS = 6


def export_yolo_detection(
    folder: Path,
    chosen: list[Choice],
    archive: ImageArchive,
    space: LabelSpace | None,
    remarks: Remarks,
    *,
    splits: Collection[str] = SPLITS,
    convert: Convert | None = None,
) -> tuple[list[Choice], dict[str, str]]:
    """Write flat `images/<split>` and `labels/<split>`, and the yaml of the data set; return what is in it.

    A row is `class x_center y_center width height`, in shares of the upright picture with 6 decimals: trainers turn
    photos upright before they use them. An image without faces has an empty label file. An image with a face that has
    no box, or no class, is left out: it would teach the trainer that there is no face. The yaml's empty `path` means
    the folder it is in, so the tree may be moved.

    Args:
        folder: where to write.
        chosen: the images, of `splits` only.
        archive: their files.
        space: the classes; None for the one class `face`.
        remarks: gets what is left out or noted.
        splits: those that the yaml names.
        convert: for a trainer that reads the tree at once, such as `as_yolo_reads`; pictures with a side below MIN_SIDE
            are then left out. Without it files keep their bytes, and what trainers skip is noted.
    """
    labels = (FACE if space is None else space).class_labels
    kept, rows = [], {}
    for choice in chosen:
        reason, text = _label_text(choice, one_class=space is None)
        if reason is None and convert is not None and _is_small(choice):
            reason = "too_small_for_yolo"
        if reason is not None:
            remarks.left_out.add(reason, choice.image.file_name)
            continue
        rows[choice.image.id] = text
        kept.append(choice)
        if not choice.faces:
            remarks.notes.add("background", choice.image.file_name)
    names = ascii_names((choice.image for choice in kept), archive)
    paths = {choice.image.file_name: f"images/{choice.split}/{names[choice.image.id]}" for choice in kept}
    for split in by_split(kept):
        (folder / "labels" / split).mkdir(parents=True)
    paths = write_images(folder, archive, [choice.image for choice in kept], paths, convert=convert)
    _note_unread(kept, paths, remarks)
    for choice in kept:
        stem = names[choice.image.id].partition(".")[0]
        write_file(folder / "labels" / choice.split / f"{stem}.txt", rows[choice.image.id].encode("ascii"))
    facts = {"path": "", **{split: f"images/{split}" for split in splits}, "names": dict(enumerate(labels))}
    write_file(folder / YAML, yaml.safe_dump(facts, sort_keys=False).encode("ascii"))
    return kept, paths


def _is_small(choice: Choice) -> bool:
    return min(choice.image.width, choice.image.height) < MIN_SIDE


def _note_unread(kept: list[Choice], paths: Mapping[str, str], remarks: Remarks) -> None:
    """Note the pictures that trainers skip."""
    for choice in kept:
        if not paths[choice.image.file_name].endswith(_SUFFIXES):
            remarks.notes.add("suffix_unknown_to_yolo", choice.image.file_name)
        if _is_small(choice):
            remarks.notes.add("too_small_for_yolo", choice.image.file_name)


def _label_text(choice: Choice, *, one_class: bool) -> tuple[str | None, str]:
    """Return why an image is left out, None when it is not, and the text of its label file."""
    rows = []
    for face, index in choice.faces:
        category = 0 if one_class else index
        if category is None:
            return "unlabeled_face", ""
        row = yolo_row(face.box, choice.image.width, choice.image.height, category)
        if row is None:
            return "no_box", ""
        rows.append(f"{row}\n")
    return None, "".join(rows)


def yolo_row(box: Box | None, width: int, height: int, category: int = 0) -> str | None:
    """Return the row of a box in pixels, clipped to a picture of this size; None when nothing is left of it."""
    if box is None:
        return None
    left, top = max(box[0], 0.0) / width, max(box[1], 0.0) / height
    right, bottom = min(box[0] + box[2], width) / width, min(box[1] + box[3], height) / height
    if right <= left or bottom <= top:
        return None
    smallest = 10.0**-_DECIMALS
    shares = (left + right) / 2, (top + bottom) / 2, max(right - left, smallest), max(bottom - top, smallest)
    return " ".join([str(category), *(f"{share:.{_DECIMALS}f}" for share in shares)])


def export_yolo_classification(
    folder: Path, chosen: list[Choice], archive: ImageArchive, space: LabelSpace, remarks: Remarks
) -> tuple[list[Choice], dict[str, str]]:
    """Write `images/<split>/<class>/<name>`; the folder `images` is the trainer's data set.

    An image with faces of several classes has no folder and is left out. Trainers number the classes by the order of
    the folder names, which is the order of the label space for emotions only.
    """
    kept = []
    for choice in labeled(chosen, remarks):
        if len({index for _, index in choice.faces}) > 1:
            remarks.left_out.add("several_classes", choice.image.file_name)
        else:
            kept.append(choice)
    paths = write_class_tree(folder, kept, archive, space, remarks)
    _note_unread(kept, paths, remarks)
    return kept, paths
