"""The COCO tree: `images/<split>/<class>/<name>` and `labels/<split>/annotation.json`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.shared.dataset.annotations import Face, Image, face_record, image_record
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import Choice, Remarks, labeled
from components.shared.dataset.export.files import by_split, write_class_tree, write_json
from components.shared.dataset.label_spaces import LabelSpace

# The day the photo was taken is not known; the day of the export would change the bytes.
_NO_DATE = "1970-01-01 00:00:00"


def export_coco(
    folder: Path, chosen: list[Choice], archive: ImageArchive, space: LabelSpace, remarks: Remarks
) -> tuple[list[Choice], dict[str, str]]:
    """Write the images with a class and one COCO file per split.

    Categories are the classes of the label space, numbered from 1 in their order. `file_name` is relative to
    `images/<split>`, ids are those of the annotations artifact. Sizes and boxes are those of the upright picture, the
    files keep their EXIF orientation. A face without a box has the whole picture as its box and the mark
    `whole_image`. Beyond plain COCO there are `person`, `split`, `source`, `fold` and `trainable` of an image and
    `attributes` of an annotation, and `info.category_attribute` says which attribute the categories are values of.
    An image of faces of several classes is in the folder of its first face.
    """
    kept = labeled(chosen, remarks)
    for choice in kept:
        if len({index for _, index in choice.faces}) > 1:
            remarks.notes.add("several_classes", choice.image.file_name)
    paths = write_class_tree(folder, kept, archive, space, remarks)
    for split, members in by_split(kept).items():
        document = {
            "info": {
                "description": f"Faces and their classes in the label space {space.name}",
                "version": "1.0",
                "category_attribute": _attribute(space),
            },
            "licenses": [],
            "categories": [
                {"id": index, "name": label, "supercategory": "face"}
                for index, label in enumerate(space.class_labels, start=1)
            ],
            "images": [_image(choice, paths[choice.image.file_name]) for choice in members],
            "annotations": [
                _annotation(face, index, choice.image)
                for choice in members
                for face, index in choice.faces
                if index is not None
            ],
        }
        write_json(folder / "labels" / split / "annotation.json", document, ascii_only=True)
    return kept, paths


def _attribute(space: LabelSpace) -> str | None:
    """Return the attribute that a class is a value of; None for age bands and combinations of attributes."""
    return space.attributes[0] if len(space.attributes) == 1 and space.attributes != ("age",) else None


def _image(choice: Choice, path: str) -> dict[str, Any]:
    image = choice.image
    return image_record(replace(image, sha256=None, dhash=None)) | {
        "file_name": path.removeprefix(f"images/{choice.split}/"),
        "date_captured": _NO_DATE,
        "license": 0,
        "split": image.split,
        "source": image.source or image.file_name,
    }


def _annotation(face: Face, index: int, image: Image) -> dict[str, Any]:
    record = face_record(face, image.id) | {"category_id": index + 1}
    if face.box is None:
        box = (0.0, 0.0, float(image.width), float(image.height))
        record |= {"bbox": box, "area": float(image.width * image.height), "whole_image": True}
    return record
