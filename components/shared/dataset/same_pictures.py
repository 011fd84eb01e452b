"""Whether predictions are of the pictures that annotations describe: numbers alone are equal in every data set."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.shared.dataset.annotations import Annotations, Image
from components.shared.dataset.detections import Detections, SearchedImage
from components.shared.dataset.predictions import PredictedFace, Predictions
from serving.runtime.errors import InputError

_EXAMPLES = 3
_log = logging.getLogger(__name__)


def check_pictures(table: Predictions | Detections, data: Annotations, predictions: Path, annotations: Path) -> str:
    """Compare the data sets by digest, the pictures by path and sha256, and the faces by box; return how, for people.

    What one side does not tell is not compared: older predictions name neither data set nor sha256. Faces that the
    annotations do not have are left to the join. Raises InputError naming both files when anything differs.
    """
    advice = f"pass the annotations that the predictions were made from: {predictions} does not fit {annotations}"
    theirs, ours = table.images_digest, data.info.images_digest
    if theirs and ours and theirs != ours:
        raise InputError(f"the predictions are of data set {theirs[:12]}, the annotations of {ours[:12]}; {advice}")
    images = {image.id: image for image in data.images}
    rows: Sequence[PredictedFace | SearchedImage]
    rows, noun = (table.images, "images") if isinstance(table, Detections) else (table.faces, "faces")
    pairs = [(row, images[row.image_id]) for row in rows if row.image_id in images]
    differing = [difference for row, image in pairs for difference in _difference(row, image)]
    if differing:
        raise InputError(
            f"{len(differing)} of {len(rows)} predicted {noun} are others than in the annotations: "
            f"{'; '.join(differing[:_EXAMPLES])}; {advice}"
        )
    by_path = sum(not (row.sha256 and image.sha256) for row, image in pairs)
    if not by_path:
        return "the same by path and sha256"
    alone = "path" if isinstance(table, Detections) else "path and box"
    _log.warning(
        "%s: %d of %d %s are compared with %s by %s alone: one of the files has no sha256 of the picture",
        predictions, by_path, len(rows), noun, annotations, alone,
    )  # fmt: skip
    return f"{by_path} of {len(rows)} {noun} compared by {alone} alone, without sha256"


def _difference(row: PredictedFace | SearchedImage, image: Image) -> Iterator[str]:
    """Yield at most one difference."""
    if row.path != image.file_name:
        yield f"image {image.id} is '{row.path}' in the predictions and '{image.file_name}' in the annotations"
    elif row.sha256 and image.sha256 and row.sha256 != image.sha256:
        yield f"'{row.path}' is another picture (sha256 {row.sha256[:12]} and {image.sha256[:12]})"
    elif isinstance(row, PredictedFace):
        boxes = {known.id: known.box for known in image.faces}
        if boxes.get(row.face_id, row.box) != row.box:
            yield f"'{row.path}' face {row.face_id} has another box ({row.box} and {boxes[row.face_id]})"
