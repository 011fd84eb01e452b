"""Truth as a table of class numbers, `gt.csv`, instead of annotations."""

from pathlib import Path, PurePosixPath

from components.shared.dataset.annotations import Annotations, Face, Image
from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.dataset.table import parse_table
from components.shared.dataset.text import read_text
from serving.runtime.errors import InputError

_NAME, _ANSWER = "ImageID", "ans"


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
    parsed = parse_table(read_text(str(path)), str(path), (_NAME, _ANSWER))
    if parsed.complaints:
        raise InputError(f"{path}: {parsed.complaints[0]}")
    faces = _by_name(table, path)
    free = max((max(face.image_id, face.face_id) for face in table.faces), default=0) + 1
    numbers = {str(number) for number in range(len(table.space.class_labels))}
    images: dict[str, Image] = {}
    for row in parsed.rows:
        name, answer = row.cells[_NAME], row.cells[_ANSWER]
        if answer not in numbers:
            raise InputError(
                f"{path}: row {row.line}: {answer!r} is no class of '{table.space.name}', which has 0 to "
                f"{len(numbers) - 1}: predict with a model of the classes in this table"
            )
        if name in images:
            raise InputError(f"{path}: row {row.line}: '{name}' occurs twice")
        found = faces.get(name, faces.get(PurePosixPath(name).name))
        face = found or PredictedFace(free + row.line, free + row.line, name, None)
        known = Face(face.face_id, face.box, table.space.attributes_of(int(answer)))
        images[name] = Image(face.image_id, face.path, 1, 1, (known,), split="test")
    return Annotations(tuple(images.values()))


def _by_name(table: Predictions, path: Path) -> dict[str, PredictedFace]:
    """Return the predicted face of every picture by its path, and by the last part of it."""
    names: dict[str, PredictedFace] = {}
    for face in table.faces:
        for name in {face.path, PurePosixPath(face.path).name}:
            if name in names:
                raise InputError(f"{path}: several predictions are of '{name}'; such a table is of one face a picture")
            names[name] = face
    return names
