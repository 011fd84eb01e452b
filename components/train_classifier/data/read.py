"""The faces of a training, with everything that the configuration makes of their labels."""

import logging
from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.annotations import Annotations, digest, read_annotations
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.samples import Faces, check_faces, select_faces
from components.train_classifier.data.sampling import Indices, class_indices
from components.train_classifier.data.soft_targets import SoftTargets
from serving.runtime.card import Head
from serving.runtime.errors import InputError

log = logging.getLogger(__name__)


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
        "to be given one by the network" if config.pseudo_labels.enabled else "left out",
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
        leaks=bool(content.info.get("leaks", False)),
    )
