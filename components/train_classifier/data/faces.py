"""The faces of a training and their targets, one distribution over the labels per head, from the annotations."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations, named_points, read_annotations
from components.shared.dataset.crops import digest_with_crops, has_crops, on_crops
from components.shared.dataset.label_spaces import LabelSpace, known_value, label_space
from components.shared.dataset.table import read_table, shipped_tables
from components.train_classifier.config.objective import SoftTargetSpec
from components.train_classifier.config.training import TrainConfig
from serving.runtime.card import Head
from serving.runtime.errors import InputError
from serving.runtime.image.placement import EYES, Box, Keypoints, eye_points

log = logging.getLogger(__name__)

Indices = NDArray[np.int64]
Distribution = NDArray[np.float32]

SHIPPED_TABLES = shipped_tables(__file__)
"""The tables of persons that ship with the step, by name."""

ATTRIBUTE = "soft_targets"
"""The annotation attribute with soft targets: {"gender": {"male": 0.5, "female": 0.5}}; labels left out have 0."""

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Sample:
    """One face: its id, its picture's name in the archive, box (None: whole image), attributes, picture's sha256, eyes.

    `keypoints` are the points that faces are aligned by, where both are known.
    """

    face_id: int
    file_name: str
    box: Box | None
    attributes: Mapping[str, Any]
    sha256: str | None = None
    keypoints: Keypoints = field(default_factory=dict)


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
    """`space` is what metrics count; `classes` (N,) is what the sampling of the training faces goes by.

    `cropped` tells whether the faces were cut out before the training: `annotations` are those of the crops then.
    """

    annotations: Annotations
    space: LabelSpace
    heads: tuple[Head, ...]
    train: Faces
    val: Faces
    classes: Indices
    digest: str
    leaks: bool
    cropped: bool = False

    def counts(self) -> dict[str, int]:
        """Return how many faces there are of each kind."""
        return {
            "train_faces": len(self.train.labeled),
            "val_faces": len(self.val.labeled),
            "unlabeled_faces": len(self.train.unlabeled),
        }


class SoftTargets:
    """Turns the attributes of a face into its targets.

    For each attribute the first of these sources applies: the table of persons whose attribute is ambiguous, the soft
    targets of the annotation, the label with its certainty. `uncertain` has the persons of each attribute's table, by
    exact id.
    """

    def __init__(self, spec: SoftTargetSpec, space: LabelSpace) -> None:
        """Read the tables. Raises InputError for an unusable table or an attribute that is not in `space`."""
        spec.check_attributes(space)
        self._space = space
        self._certainty = dict(spec.certainty)
        self.uncertain = {attribute: read_persons(table) for attribute, table in spec.uncertain.items()}
        parts = (
            [space]
            if len(space.attributes) == 1
            else [label_space(attribute, space.age_thresholds) for attribute in space.attributes]
        )
        self._parts = dict(zip(space.attributes, parts, strict=True))

    def __call__(self, attributes: Mapping[str, Any], person: str | None = None) -> tuple[Distribution, ...] | None:
        """Return float32 (K,) summing to 1 for every head, or None when an attribute is unknown.

        Several attributes in one head are taken as independent. Raises InputError on values that cannot be understood.
        """
        distributions = []
        for attribute, part in self._parts.items():
            distribution = self._distribution(attribute, part, attributes, person)
            if distribution is None:
                return None
            distributions.append(distribution)
        if len(self._space.heads) == len(distributions):
            return tuple(distribution.astype(np.float32) for distribution in distributions)
        joint = distributions[0]
        for distribution in distributions[1:]:
            joint = np.outer(joint, distribution).ravel()
        return (joint.astype(np.float32),)

    def _distribution(
        self, attribute: str, part: LabelSpace, attributes: Mapping[str, Any], person: str | None
    ) -> NDArray[np.float64] | None:
        labels = part.heads[0].labels
        if person is not None and person in self.uncertain.get(attribute, ()):
            return np.full(len(labels), 1 / len(labels))
        stated = attributes.get(ATTRIBUTE, {})
        if not isinstance(stated, Mapping):
            raise InputError(f"attribute '{ATTRIBUTE}': expected a mapping from attributes to labels, got {stated!r}")
        if attribute in stated:
            return _stated(attribute, labels, stated[attribute])
        index = part.encode(attributes)
        if index is None:
            return None
        certainty = self._certainty.get(attribute, 1.0)
        distribution = np.full(len(labels), (1 - certainty) / (len(labels) - 1))
        distribution[index[0]] = certainty
        return distribution


def read_data(config: TrainConfig, annotations: Path, crops: Path | None = None) -> Data:
    """Read the faces of the train and val splits, as they are on their crops where there are `crops`.

    Raises InputError when they do not suffice for `config`, or a face has no crop.
    """
    content = read_annotations(annotations)
    if crops is not None and has_crops(crops):
        content = on_crops(content, crops)
    space = label_space(config.label_space)
    targets = label_space(config.label_space, config.age_thresholds)
    train = select_faces(content, targets, "train", SoftTargets(config.soft_targets, targets))
    check_faces(train, space)
    if config.crop.eyes is not None:
        _check_eyes(train)
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
        if config.scheduler.name == "ReduceLROnPlateau":
            raise InputError("ReduceLROnPlateau watches the val split, and that has no labeled face: take another")
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
        digest=digest_with_crops(annotations, crops),
        leaks=content.info.leaks,
        cropped=has_crops(crops),
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
            eyes = eye_points(named_points(face, annotations.keypoint_names))
            sample = Sample(face.id, image.file_name, face.box, face.attributes, image.sha256, eyes)
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


def _check_eyes(faces: Faces) -> None:
    """Raise InputError when no face could be aligned; log how many are cut by their boxes instead."""
    missing = sum(not face.keypoints for face in faces.labeled)
    if missing == len(faces.labeled):
        raise InputError(
            f"crop_rule.eyes aligns faces by the keypoints {' and '.join(EYES)}, and no labeled face of the train "
            "split has both: find faces with a detector that gives them, or leave crop_rule.eyes out"
        )
    if missing:
        log.warning(
            "%d of %d faces have no eye points and are cut by their boxes, as in serving", missing, len(faces.labeled)
        )


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


def _stated(attribute: str, labels: tuple[str, ...], shares: Any) -> NDArray[np.float64]:
    where = f"attribute '{ATTRIBUTE}', '{attribute}'"
    if not isinstance(shares, Mapping):
        raise InputError(f"{where}: expected a mapping from labels to probabilities, got {shares!r}")
    distribution: NDArray[np.float64] = np.zeros(len(labels))
    for label, share in shares.items():
        name = label if attribute == "age" else known_value(attribute, label)
        if name not in labels:
            raise InputError(f"{where}: {label!r} is not a label; known: {', '.join(labels)}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise InputError(f"{where}: the probability of {label!r} must be a number from 0 to 1, got {share!r}")
        distribution[labels.index(str(name))] += share
    if not math.isclose(distribution.sum(), 1.0, abs_tol=_SUM_TOLERANCE):
        raise InputError(f"{where}: the probabilities must sum to 1, got {dict(shares)!r}")
    distribution /= distribution.sum()
    return distribution


def read_persons(table: str) -> frozenset[str]:
    """Read a table of persons: one that ships, by its name, or a path or `s3://` address.

    It is a CSV file with a column `person`; other columns are for people. Raises NotFoundError when there is no such
    table, InputError when it has no such column.
    """
    persons = (row.cells["person"] for row in read_table(table, SHIPPED_TABLES, ("person",)))
    return frozenset(person for person in persons if person)
