"""Which faces a training sees: the labelled ones of a split."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from components.shared.dataset.annotations import Annotations
from components.shared.dataset.label_spaces import LabelSpace
from serving.runtime.errors import InputError
from serving.runtime.preprocess import Box

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One face: its id, the picture's name in the archive, its box (None: whole image) and a label per head."""

    face_id: int
    file_name: str
    box: Box | None
    targets: tuple[int, ...]


def select_samples(annotations: Annotations, space: LabelSpace, split: str) -> tuple[list[Sample], int]:
    """Return the faces of `split` that `space` has a label for, and how many it has none for.

    Raises InputError naming the picture when an attribute cannot be understood.
    """
    samples = []
    unlabelled = 0
    for image in annotations.images:
        if image.split != split:
            continue
        for face in image.faces:
            try:
                targets = space.encode(face.attributes)
            except InputError as error:
                raise InputError(f"{image.file_name}, face {face.id}: {error}") from error
            if targets is None:
                unlabelled += 1
            else:
                samples.append(Sample(face.id, image.file_name, face.box, targets))
    return samples, unlabelled


def check_samples(samples: Sequence[Sample], space: LabelSpace, unlabelled: int) -> None:
    """Raise InputError when there is too little to train on; warn of labels that no sample has."""
    if len(samples) < 2:
        raise InputError(
            f"the train split has {len(samples)} faces with a label of '{space.name}' and {unlabelled} without: "
            "training needs at least 2; check label_space, and that the annotations went through split"
        )
    for index, head in enumerate(space.heads):
        present = {sample.targets[index] for sample in samples}
        missing = [label for at, label in enumerate(head.labels) if at not in present]
        if missing:
            log.warning("no face of the train split is %s: it cannot be learned", ", ".join(missing))
