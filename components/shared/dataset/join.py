"""Predictions joined to the labels of their faces."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.predictions import Predictions
from serving.runtime.errors import InputError

_EXAMPLES = 5
FaceKey = tuple[int, int]


@dataclass(frozen=True)
class Joined:
    """The predictions whose faces have a label.

    Attributes:
        rows: their positions in the predictions (N,).
        truth: the index of their true class (N,).
        labels: the index of their true label in every head, by head (N,).
        splits: of the images of all predictions, sorted.
        images: how many images the joined faces are in.
        unlabeled: how many predicted faces have no label.
        missing: how many faces of these splits have no prediction.
    """

    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    labels: dict[str, NDArray[np.int64]]
    splits: tuple[str, ...]
    images: int
    unlabeled: int
    missing: int


def join(
    predictions: Predictions, annotations: Annotations, *, max_missing: int | None = None, may_be_empty: bool = False
) -> Joined:
    """Join by (image_id, face_id), after `check_pictures` has found that the two are of the same pictures.

    Expected is every face of every split that the predictions touch.

    Args:
        predictions: of a classifier.
        annotations: those of the faces.
        max_missing: how many expected faces may have no prediction; None for any number.
        may_be_empty: accept that no predicted face has a label.

    Raises InputError with counts and examples on faces that were predicted twice or are not in the annotations, on more
    missing faces, and when no face has a label.
    """
    split_of_image = {image.id: image.split or "" for image in annotations.images}
    face_of_key = {(image.id, face.id): face for image in annotations.images for face in image.faces}
    keys: list[FaceKey] = [(face.image_id, face.face_id) for face in predictions.faces]
    paths = {image.id: image.file_name for image in annotations.images}
    paths |= {face.image_id: face.path for face in predictions.faces}

    _refuse("predicted more than once", [key for key, count in Counter(keys).items() if count > 1], paths)
    _refuse("predicted, but not in the annotations", [key for key in keys if key not in face_of_key], paths)
    splits = {split_of_image[image_id] for image_id, _ in keys}
    predicted = set(keys)
    missing = [key for key in face_of_key if split_of_image[key[0]] in splits and key not in predicted]
    if max_missing is not None:
        _refuse("in the annotations, but not predicted", missing, paths, allowed=max_missing)

    space = predictions.space
    rows, labels = [], []
    for row, key in enumerate(keys):
        encoded = _encode(space, key, face_of_key[key].attributes)
        if encoded is not None:
            rows.append(row)
            labels.append(encoded)
    if not rows and not may_be_empty:
        needed = ", ".join(space.attributes)
        raise InputError(
            f"none of the {len(keys)} predicted faces has a label: label space '{space.name}' "
            f"needs the attributes {needed} in the annotations"
        )
    return Joined(
        rows=np.array(rows, np.int64),
        truth=np.array([space.class_index(one) for one in labels], np.int64),
        labels={head.name: np.array([one[at] for one in labels], np.int64) for at, head in enumerate(space.heads)},
        splits=tuple(sorted(split for split in splits if split)),
        images=len({keys[row][0] for row in rows}),
        unlabeled=len(keys) - len(rows),
        missing=len(missing),
    )


def _refuse(fault: str, keys: Collection[FaceKey], paths: Mapping[int, str], allowed: int = 0) -> None:
    if len(keys) <= allowed:
        return
    examples = ", ".join(f"image {image} face {face} ('{paths[image]}')" for image, face in sorted(keys)[:_EXAMPLES])
    more = ", ..." if len(keys) > _EXAMPLES else ""
    limit = f" (allowed: {allowed})" if allowed else ""
    raise InputError(
        f"{len(keys)} faces are {fault}{limit}: {examples}{more}; pass the annotations that the "
        "predictions were made from"
    )


def _encode(space: LabelSpace, key: FaceKey, attributes: dict[str, object]) -> tuple[int, ...] | None:
    try:
        return space.encode(attributes)
    except InputError as error:
        raise InputError(f"image {key[0]} face {key[1]}: {error}") from error
