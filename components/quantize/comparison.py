"""How an exported graph in other numbers compares with the one in float32: labels and macro F1."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.quantize.faces import Batch
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.metrics.classification import LabelScores, label_scores, predicted_classes
from components.shared.models.graph_speed import open_session
from serving.runtime.card import INPUT_NAME
from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two graphs say of the same labeled faces; in each pair the first is the one in float32.

    Attributes:
        faces: how many.
        max_difference: the largest difference of a probability.
        agreement: share of faces for which a head's most probable label is the same, the lowest over the heads.
        scores: of both, by the classes of the label space.
    """

    faces: int
    max_difference: float
    agreement: float
    scores: tuple[LabelScores, LabelScores]

    @property
    def f1_drop(self) -> float:
        """By how much macro F1 is lower than in float32; below 0 where it is higher."""
        return self.scores[0].macro_f1 - self.scores[1].macro_f1


def compare(float32: bytes, other: bytes, space: LabelSpace, faces: Iterable[Batch]) -> Comparison:
    """Run two graphs with the heads of a label space on batches of labeled faces.

    Raises InputError where the other one gives values that are not numbers, or there are no faces.
    """
    names = [head.name for head in space.heads]
    sessions = [open_session(graph, usable_cpus()) for graph in (float32, other)]
    differences: list[float] = []
    same: list[NDArray[np.bool_]] = []
    truth: list[NDArray[np.int64]] = []
    predicted: tuple[list[NDArray[np.int64]], ...] = ([], [])
    for pixels, labels in faces:
        both = [dict(zip(names, session.run(names, {INPUT_NAME: pixels}), strict=True)) for session in sessions]
        if not all(np.isfinite(values).all() for values in both[1].values()):
            raise InputError("it gives probabilities that are not numbers: its values exceed those of its precision")
        differences += [float(np.abs(both[0][name] - both[1][name]).max()) for name in names]
        same.append(np.stack([both[0][name].argmax(axis=1) == both[1][name].argmax(axis=1) for name in names]))
        truth.append(labels)
        for classes, outputs in zip(predicted, both, strict=True):
            classes.append(predicted_classes(space.class_probabilities(outputs)))
    if not truth:
        raise InputError("no face could be used to compare on")
    expected, count = np.concatenate(truth), len(space.class_labels)
    first, second = (label_scores(expected, np.concatenate(classes), count) for classes in predicted)
    agreement = float(np.concatenate(same, axis=1).mean(axis=1).min())
    return Comparison(len(expected), max(differences), agreement, (first, second))
