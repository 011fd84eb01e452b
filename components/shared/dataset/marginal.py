"""Predictions reduced to the attributes that the annotations know at all."""

import itertools
import logging
from dataclasses import replace

import numpy as np

from components.shared.dataset.annotations import Annotations
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.predictions import Predictions
from serving.runtime.card import Head

_log = logging.getLogger(__name__)


def marginal(table: Predictions, data: Annotations) -> Predictions:
    """Return the predictions over the attributes that any predicted face has, the probabilities summed over the others.

    A model of mask, gender and age is so scored by gender and age on faces whose mask nobody labeled. Where every
    attribute is known for some face, or none is, the predictions come back as they are.
    """
    space = table.space
    singles = [space] if len(space.attributes) == 1 else [label_space(name) for name in space.attributes]
    predicted = {face.image_id for face in table.faces}
    faces = [face.attributes for image in data.images if image.id in predicted for face in image.faces]
    known = [any(_has(single, face) for face in faces) for single in singles]
    if all(known) or not any(known):
        return table
    sizes = [len(single.class_labels) for single in singles]
    joint = table.class_probabilities().reshape(-1, *sizes)
    joint = joint.sum(axis=tuple(axis for axis, there in enumerate(known, start=1) if not there))
    kept = [single for single, there in zip(singles, known, strict=True) if there]
    names = tuple(single.name for single in kept)
    labels = tuple(map("/".join, itertools.product(*(single.class_labels for single in kept))))
    name = "gender_age" if names == ("gender", "age") else "+".join(names)
    _log.warning(
        "no face has %s: the predictions of '%s' are scored by %s",
        ", ".join(single.name for single, there in zip(singles, known, strict=True) if not there), space.name, name,
    )  # fmt: skip
    head = Head(name=name, labels=labels)
    values = joint.reshape(len(joint), -1).astype(np.float32)
    return replace(table, heads={name: values}, space=LabelSpace(name, (head,), labels, names))


def _has(space: LabelSpace, attributes: dict[str, object]) -> bool:
    return any(attributes.get(name) is not None for name in space.source_attributes)
