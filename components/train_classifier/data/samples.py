"""Which faces a training sees, and what they are to be taken for."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations
from components.shared.dataset.label_spaces import LabelSpace
from components.train_classifier.data.soft_targets import Distribution, SoftTargets
from serving.runtime.errors import InputError
from serving.runtime.image.crop import Box

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One face: its id, the picture's name in the archive, its box (None: whole image) and its attributes."""

    face_id: int
    file_name: str
    box: Box | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Faces:
    """The faces of a split that have labels, `targets` float32 (N,K) per head, and those that have none."""

    labeled: list[Sample]
    targets: tuple[NDArray[np.float32], ...]
    unlabeled: list[Sample]

    def classes(self, space: LabelSpace) -> NDArray[np.int64]:
        """Return the most likely class of every labeled face in `space`, int64 (N,)."""
        heads = np.stack([target.argmax(axis=1) for target in self.targets], axis=1)
        return np.array([space.class_index(row) for row in heads.tolist()], dtype=np.int64)


def select_faces(annotations: Annotations, space: LabelSpace, split: str, soft: SoftTargets | None = None) -> Faces:
    """Return the faces of `split`, with targets from `soft`, or else from their labels alone.

    Raises InputError naming the picture when an attribute cannot be understood.
    """
    one_hot = [np.eye(len(head.labels), dtype=np.float32) for head in space.heads]
    labeled, unlabeled = [], []
    rows: list[tuple[Distribution, ...]] = []
    for image in annotations.images:
        if image.split != split:
            continue
        for face in image.faces:
            sample = Sample(face.id, image.file_name, face.box, face.attributes)
            try:
                if soft is not None:
                    row = soft(face.attributes, image.person)
                else:
                    labels = space.encode(face.attributes)
                    row = None if labels is None else tuple(map(np.ndarray.__getitem__, one_hot, labels))
            except InputError as error:
                raise InputError(f"{image.file_name}, face {face.id}: {error}") from error
            if row is None:
                unlabeled.append(sample)
            else:
                labeled.append(sample)
                rows.append(row)
    targets = tuple(
        np.array([row[at] for row in rows], dtype=np.float32).reshape(-1, len(head.labels))
        for at, head in enumerate(space.heads)
    )
    return Faces(labeled, targets, unlabeled)


def check_faces(faces: Faces, space: LabelSpace) -> None:
    """Raise InputError when there is too little to train on; warn of labels that no face has."""
    if len(faces.labeled) < 2:
        raise InputError(
            f"the train split has {len(faces.labeled)} faces with a label of '{space.name}' and "
            f"{len(faces.unlabeled)} without: training needs at least 2; check label_space, and that the annotations "
            "went through split"
        )
    for head, target in zip(space.heads, faces.targets, strict=True):
        missing = [label for label, count in zip(head.labels, target.sum(axis=0), strict=True) if not count]
        if missing:
            log.warning("no face of the train split is %s: it cannot be learned", ", ".join(missing))


def file_names(samples: Sequence[Sample], indices: Sequence[int], shown: int = 8) -> str:
    """Return the names of some pictures for a message."""
    names = [samples[index].file_name for index in indices]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"
