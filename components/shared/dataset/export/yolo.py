"""Writes YOLO data sets: detection with its yaml, and classification."""

from pathlib import Path

from components.shared.dataset.annotations import Box
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import SPLITS, Choice, Remarks, labeled
from components.shared.dataset.export.files import ascii_names, write_class_tree, write_images
from components.shared.dataset.label_spaces import LabelSpace

YAML = "yolo-dataset.yaml"
_DECIMALS = 6
# YOLO trainers skip other files silently.
_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def export_yolo_detection(
    folder: Path, chosen: list[Choice], archive: ImageArchive, space: LabelSpace, remarks: Remarks
) -> tuple[list[Choice], dict[str, str]]:
    """Write flat `images/<split>` and `labels/<split>`, and the yaml of the data set, with the one class `face`.

    A row is `0 x_center y_center width height`, in shares of the upright picture with 6 decimals: trainers turn photos
    upright before they use them. An image without faces has an empty label file. An image with a face that has no
    box is left out: it would teach the trainer that there is no face. The yaml's empty `path` means
    the folder it is in, so the tree may be moved.
    """
    kept, labels = [], {}
    for choice in chosen:
        rows = [yolo_row(face.box, choice.image.width, choice.image.height) for face, _ in choice.faces]
        if None in rows:
            remarks.left_out.add("no_box", choice.image.file_name)
            continue
        labels[choice.image.id] = "".join(f"{row}\n" for row in rows)
        kept.append(choice)
        if not rows:
            remarks.notes.add("background", choice.image.file_name)
    names = ascii_names((choice.image for choice in kept), archive)
    paths = {choice.image.file_name: f"images/{choice.split}/{names[choice.image.id]}" for choice in kept}
    write_images(folder, archive, [choice.image for choice in kept], paths)
    for choice in kept:
        path = paths[choice.image.file_name]
        if not path.endswith(_SUFFIXES):
            remarks.notes.add("suffix_unknown_to_yolo", choice.image.file_name)
        label = folder / "labels" / choice.split / f"{names[choice.image.id].partition('.')[0]}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(labels[choice.image.id], encoding="ascii")
    lines = ["path: ''", *(f"{split}: images/{split}" for split in SPLITS), "names:", "  0: face"]
    (folder / YAML).write_text("\n".join(lines) + "\n", encoding="ascii")
    return kept, paths


def yolo_row(box: Box | None, width: int, height: int) -> str | None:
    """Return the row of a box in pixels, clipped to a picture of this size; None when nothing is left of it."""
    if box is None:
        return None
    left, top = max(box[0], 0.0) / width, max(box[1], 0.0) / height
    right, bottom = min(box[0] + box[2], width) / width, min(box[1] + box[3], height) / height
    if right <= left or bottom <= top:
        return None
    smallest = 10.0**-_DECIMALS
    shares = (left + right) / 2, (top + bottom) / 2, max(right - left, smallest), max(bottom - top, smallest)
    return " ".join(["0", *(f"{share:.{_DECIMALS}f}" for share in shares)])


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
    return kept, write_class_tree(folder, kept, archive, space, remarks)
