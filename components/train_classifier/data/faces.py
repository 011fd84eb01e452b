"""The faces of a training and their targets, selected from the annotations."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations, digest, read_annotations
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.soft_targets import Distribution, SoftTargets
from serving.runtime.card import Head
from serving.runtime.errors import InputError
from serving.runtime.image.preprocess import Box

log = logging.getLogger(__name__)

Indices = NDArray[np.int64]


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


@dataclass(frozen=True)
class Data:
    """`space` is what metrics count; `classes` (N,) is what the sampling of the training faces goes by."""

    annotations: Annotations
    space: LabelSpace
    heads: tuple[Head, ...]
    train: Faces
    val: Faces
    classes: Indices
    digest: str
    leaks: bool

    def counts(self) -> dict[str, int]:
        """Return how many faces there are of each kind."""
        return {
            "train_faces": len(self.train.labeled),
            "val_faces": len(self.val.labeled),
            "unlabeled_faces": len(self.train.unlabeled),
        }


def read_data(config: TrainConfig, annotations: Path) -> Data:
    """Read the faces of the train and val splits. Raises InputError when they do not suffice for `config`."""
    content = read_annotations(annotations)
    space = label_space(config.label_space)
    targets = label_space(config.label_space, config.age_thresholds)
    train = select_faces(content, targets, "train", SoftTargets(config.soft_targets, targets))
    check_faces(train, space)
    val = select_faces(content, space, "val")
    log.info(
        "%d faces to train on, %d to choose the epoch, %d without a label %s",
        len(train.labeled),
        len(val.labeled),
        len(train.unlabeled),
        "to be labeled by the network" if config.pseudo_labels.enabled else "left out",
    )
    if not val.labeled:
        log.warning("no labeled face in the val split: the last epoch counts as the best one")
        if config.early_stopping is not None:
            raise InputError("early_stopping watches the val split, and that has no labeled face: leave it out")
    if config.pseudo_labels.enabled and not train.unlabeled:
        raise InputError(f"pseudo_labels: every face of the train split has a label of '{space.name}': leave it out")
    by = config.sampling.by
    return Data(
        annotations=content,
        space=space,
        heads=space.heads,
        train=train,
        val=val,
        classes=train.classes(targets)
        if by is None
        else class_indices([face.attributes for face in train.labeled], label_space(by, config.age_thresholds)),
        digest=digest(annotations),
        leaks=content.info.leaks,
    )


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


def class_indices(attributes: Sequence[Mapping[str, Any]], space: LabelSpace) -> Indices:
    """Return the class of every face in `space`. Raises InputError when a face has none."""
    classes = []
    for face in attributes:
        heads = space.encode(face)
        if heads is None:
            needed = ", ".join(space.attributes)
            raise InputError(
                f"sampling by '{space.name}' needs the attributes {needed} of every training face, got {face}"
            )
        classes.append(space.class_index(heads))
    return np.array(classes, dtype=np.int64)
