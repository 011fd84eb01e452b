"""The evaluated faces with what the annotations say of them: persons, and groups of faces that are alike."""

from dataclasses import dataclass

from components.shared.dataset.annotations import Annotations, Face, Image
from components.shared.dataset.join import Joined
from components.shared.dataset.predictions import PredictedFace, Predictions


@dataclass(frozen=True, slots=True)
class LabeledFace:
    """A face that was predicted and has a label."""

    image: Image
    face: Face
    predicted: PredictedFace


def labeled_faces(table: Predictions, joined: Joined, annotations: Annotations) -> list[LabeledFace]:
    """Return the faces of the rows of `joined`, in their order."""
    faces = {(image.id, face.id): (image, face) for image in annotations.images for face in image.faces}
    rows = (table.faces[row] for row in joined.rows.tolist())
    return [LabeledFace(*faces[row.image_id, row.face_id], row) for row in rows]
