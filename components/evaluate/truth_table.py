"""Truth as a table of class numbers, `gt.csv`, instead of annotations."""

import logging
from pathlib import Path, PurePosixPath

from components.shared.dataset.annotations import Annotations, Face, Image
from components.shared.dataset.answers import read_class_numbers
from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import PredictedFace, Predictions
from serving.runtime.errors import InputError

DEFAULT = "mask_gender_age"
"""The label space of class numbers for which none is named: the 18 classes."""

_OF_EACH_MASK = 6
_log = logging.getLogger(__name__)


def is_truth_table(path: Path) -> bool:
    """Tell whether a file is a table and no annotations, by its name."""
    return path.suffix.lower() == ".csv"


def read_truth_table(path: Path, table: Predictions | Detections) -> Annotations:
    """Return the truth of predicted pictures as annotations in the split test.

    `ImageID` is the name of a picture, with or without its folders, `ans` its class number in the label space of the
    predictions. Rows without a prediction are images that the predictions lack. Raises InputError on a number that is
    no class, on names that occur twice, on pictures with several faces, and for the predictions of a detector.
    """
    if isinstance(table, Detections):
        raise InputError(f"{path}: a table of class numbers has no boxes; evaluate a detector with COCO annotations")
    numbers = read_class_numbers(path, table.space)
    if table.space.name == DEFAULT and max(numbers.values()) < _OF_EACH_MASK:
        _log.warning(
            "%s: no number is above %d, so that as '%s' every mask is worn; if the numbers are of other classes, name "
            "them with label_space, such as mask or gender_age",
            path, max(numbers.values()), DEFAULT,
        )  # fmt: skip
    faces = _by_name(table, path)
    free = max((max(face.image_id, face.face_id) for face in table.faces), default=0) + 1
    images: list[Image] = []
    for number, (name, answer) in enumerate(numbers.items(), free):
        found = faces.get(name, faces.get(PurePosixPath(name).name))
        face = found or PredictedFace(number, number, name, None)
        known = Face(face.face_id, face.box, table.space.attributes_of(answer))
        images.append(Image(face.image_id, face.path, 1, 1, (known,), split="test"))
    return Annotations(tuple(images))


def _by_name(table: Predictions, path: Path) -> dict[str, PredictedFace]:
    """Return the predicted face of every picture by its path, and by the last part of it."""
    names: dict[str, PredictedFace] = {}
    for face in table.faces:
        for name in {face.path, PurePosixPath(face.path).name}:
            if name in names:
                raise InputError(f"{path}: several predictions are of '{name}'; such a table is of one face a picture")
            names[name] = face
    return names
