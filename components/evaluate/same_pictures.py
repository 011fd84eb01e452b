"""Whether predictions are of the pictures that annotations describe: numbers alone are equal in every data set."""

import logging
from collections.abc import Iterator
from pathlib import Path

from components.shared.dataset.annotations import Annotations, Image
from components.shared.dataset.predictions import PredictedFace, Predictions
from serving.runtime.errors import InputError

_EXAMPLES = 3
_log = logging.getLogger(__name__)


def check_pictures(table: Predictions, data: Annotations, predictions: Path, annotations: Path) -> str:
    """Compare the data sets by digest, the pictures by path and sha256, and the faces by box; return how, for people.

    What one side does not tell is not compared: older predictions name neither data set nor sha256. Faces that the
    annotations do not have are left to the join. Raises InputError naming both files when anything differs.
    """
    advice = f"evaluate predictions with the annotations they were made from: {predictions} does not fit {annotations}"
    theirs, ours = table.images_digest, data.info.images_digest
    if theirs and ours and theirs != ours:
        raise InputError(f"the predictions are of data set {theirs[:12]}, the annotations of {ours[:12]}; {advice}")
    images = {image.id: image for image in data.images}
    pairs = [(face, images[face.image_id]) for face in table.faces if face.image_id in images]
    differing = [difference for face, image in pairs for difference in _difference(face, image)]
    if differing:
        raise InputError(
            f"{len(differing)} of {len(table.faces)} predicted faces are others than in the annotations: "
            f"{'; '.join(differing[:_EXAMPLES])}; {advice}"
        )
    by_path = sum(not (face.sha256 and image.sha256) for face, image in pairs)
    if not by_path:
        return "the same by path and sha256"
    _log.warning(
        "%s: %d of %d faces are compared with %s by path and box alone: one of the files has no sha256 of the picture",
        predictions, by_path, len(table.faces), annotations,
    )  # fmt: skip
    return f"{by_path} of {len(table.faces)} faces compared by path and box alone, without sha256"


def _difference(face: PredictedFace, image: Image) -> Iterator[str]:
    """Yield at most one difference."""
    boxes = {known.id: known.box for known in image.faces}
    if face.path != image.file_name:
        yield f"image {image.id} is '{face.path}' in the predictions and '{image.file_name}' in the annotations"
    elif face.sha256 and image.sha256 and face.sha256 != image.sha256:
        yield f"'{face.path}' is another picture (sha256 {face.sha256[:12]} and {image.sha256[:12]})"
    elif boxes.get(face.face_id, face.box) != face.box:
        yield f"'{face.path}' face {face.face_id} has another box ({face.box} and {boxes[face.face_id]})"
