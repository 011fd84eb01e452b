"""The evaluated faces with what the annotations say of them: persons, and groups of faces that are alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.join import Joined
from components.shared.dataset.annotations import Annotations, Face, Image
from components.shared.dataset.predictions import PredictedFace, Predictions


@dataclass(frozen=True, slots=True)
class Subject:
    """A face that was predicted and has a label."""

    image: Image
    face: Face
    predicted: PredictedFace


def subjects(table: Predictions, joined: Joined, annotations: Annotations) -> list[Subject]:
    """Return the faces of the rows of `joined`, in their order."""
    faces = {(image.id, face.id): (image, face) for image in annotations.images for face in image.faces}
    rows = (table.faces[row] for row in joined.rows.tolist())
    return [Subject(*faces[row.image_id, row.face_id], row) for row in rows]


def person_numbers(found: Sequence[Subject]) -> NDArray[np.int64]:
    """Return the number of the person of each face, from 0 on; an image without a person is one of its own."""
    keys = [
        (0, subject.image.person) if subject.image.person is not None else (1, str(subject.image.id))
        for subject in found
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)
