"""The answer about the faces of pictures, whatever protocol carries it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.runtime.errors import ImageError
from serving.runtime.face_json import face_json
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box
from serving.runtime.predictor import FaceResult, Predictor
from serving.runtime.work import Work


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer, for those who count and keep answers.

    Attributes:
        model: that gave it.
        data: the image file.
        faces: of the answer.
        size: height and width in pixels of the upright photo; (0, 0) where it has no face.
    """

    model: Predictor
    data: bytes
    faces: Sequence[FaceResult]
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file, the boxes of its faces where they are given, and its name for errors."""

    data: bytes
    boxes: Sequence[Box] = ()
    name: str = ""


def answers(model: Predictor, pictures: Sequence[Picture], work: Work | None = None) -> list[dict[str, Any]]:
    """Return `{"model", "version", "faces"}` for each picture, each face as `face_json` describes it.

    Raises:
        ImageError: a picture cannot be used; among several, the message has its number and name.
        InputError: a box cannot be used.
        AbandonedError: nobody waits for the result any longer.
    """
    results = []
    for number, picture in enumerate(pictures, 1):
        photo = Photo(picture.data, work)
        try:
            (faces,) = model.predict([(photo, picture.boxes)], work=work)
        except ImageError as error:
            if len(pictures) == 1:
                raise
            name = f" ({picture.name[:80]})" if picture.name else ""
            raise ImageError(error.reason, f"file {number}{name}: {error}") from error
        if work is not None:
            work.seen.append(Seen(model, picture.data, faces, photo.upright if faces else (0, 0)))
        described = [face_json(face) for face in faces]
        results.append({"model": model.name, "version": model.version, "faces": described})
    return results
