"""What the predicted faces are, head by head."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations
from components.shared.dataset.predictions import Predictions
from serving.runtime.errors import InputError


@dataclass(frozen=True)
class Labeled:
    """The predicted faces that have a label.

    Attributes:
        rows: their positions in the predictions (N,).
        truth: the index of their label in every head, by head (N,).
        classes: the index of their class, see `LabelSpace.class_index` (N,).
        splits: of their images, sorted.
        unlabeled: how many predicted faces have no label.
    """

    rows: NDArray[np.int64]
    truth: dict[str, NDArray[np.int64]]
    classes: NDArray[np.int64]
    splits: tuple[str, ...]
    unlabeled: int


def labels_of(table: Predictions, data: Annotations) -> Labeled:
    """Look up the labels of predicted faces by image id and face id.

    Raises InputError when a face was predicted twice, is not in the annotations or is of another picture or data set.
    """
    advice = "calibrate with the annotations that the predictions were made from"
    theirs, ours = table.images_digest, data.info.images_digest
    if theirs and ours and theirs != ours:
        raise InputError(f"the predictions are of data set {theirs[:12]}, the annotations of {ours[:12]}; {advice}")
    keys = [(face.image_id, face.face_id) for face in table.faces]
    if double := [key for key, count in Counter(keys).items() if count > 1]:
        raise InputError(f"image {double[0][0]} face {double[0][1]} is predicted more than once; {advice}")
    known = {(image.id, face.id): (image, face) for image in data.images for face in image.faces}
    rows, encoded, splits = [], [], set()
    for row, (key, predicted) in enumerate(zip(keys, table.faces, strict=True)):
        where = f"image {key[0]} face {key[1]}"
        if key not in known:
            raise InputError(f"{where} is predicted, but not in the annotations; {advice}")
        image, face = known[key]
        if image.file_name != predicted.path or (
            predicted.sha256 and image.sha256 and predicted.sha256 != image.sha256
        ):
            raise InputError(f"{where} is another picture in the predictions than in the annotations; {advice}")
        try:
            indices = table.space.encode(face.attributes)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if indices is not None:
            rows.append(row)
            encoded.append(indices)
            splits.add(image.split or "none")
    table_of_indices = np.array(encoded, np.int64).reshape(len(rows), len(table.space.heads))
    return Labeled(
        rows=np.array(rows, np.int64),
        truth={head.name: table_of_indices[:, at] for at, head in enumerate(table.space.heads)},
        classes=np.array([table.space.class_index(indices) for indices in encoded], np.int64),
        splits=tuple(sorted(splits)),
        unlabeled=len(keys) - len(rows),
    )
