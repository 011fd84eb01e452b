"""How evenly predictions are right over genders and ages.

Equalized odds (Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning", 2016) asks for equal
true-positive and false-positive rates in all groups; the gap is the largest difference of two groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.labeled_faces import LabeledFace
from components.evaluate.slices import LEAST, attribute_value
from components.shared.dataset.label_spaces import label_space
from components.shared.metrics.classification import AttributeClasses

_GROUPS = ("gender", "age")
Rate = float | None


@dataclass(frozen=True, slots=True)
class Group:
    """The faces of one gender or age band; `gap` is what their accuracy lacks to the best group's that is not small."""

    by: str
    value: str
    faces: int
    accuracy: float
    gap: float

    @property
    def small(self) -> bool:
        """Whether there are too few faces to judge by."""
        return self.faces < LEAST


@dataclass(frozen=True, slots=True)
class LabelRates:
    """True-positive and false-positive rates of one label, by group; None without a face to divide by."""

    label: str
    true: tuple[Rate, ...]
    false: tuple[Rate, ...]
    true_gap: Rate
    false_gap: Rate


@dataclass(frozen=True, slots=True)
class OddsTable:
    """The rates of the labels of one attribute in the groups of another one.

    Attributes:
        by: what the groups differ in.
        groups: the groups.
        attribute: what is predicted.
        rows: the rates of each of its labels.
        gap: the largest of the gaps; None where no two groups that are not small can be compared.
    """

    by: str
    groups: tuple[Group, ...]
    attribute: str
    rows: tuple[LabelRates, ...]
    gap: Rate


@dataclass(frozen=True, slots=True)
class Fairness:
    """Accuracy by group, and the rates by group of what the groups do not differ in themselves."""

    groups: tuple[Group, ...]
    tables: tuple[OddsTable, ...]


def fairness(
    faces: Sequence[LabeledFace],
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    attributes: Sequence[AttributeClasses],
) -> Fairness:
    """Compare genders and age bands, where the faces are known to have at least two of them.

    Args:
        faces: the faces.
        truth: their true classes, (N,).
        predicted: the predicted ones, (N,).
        attributes: what the classes are made of.
    """
    groups: list[Group] = []
    tables: list[OddsTable] = []
    for by in _GROUPS:
        members = _members(faces, by)
        if len(members) < 2:
            continue
        own = _groups(by, members, truth == predicted)
        groups += own
        counted = [not group.small for group in own]
        for one in attributes:
            if one.name != by:
                of_truth, of_guess = one.of_class[truth], one.of_class[predicted]
                rows = tuple(
                    _rates(label, of_truth == number, of_guess == number, list(members.values()), counted)
                    for number, label in enumerate(one.labels)
                )
                gaps = [gap for row in rows for gap in (row.true_gap, row.false_gap) if gap is not None]
                tables.append(OddsTable(by, own, one.name, rows, max(gaps, default=None)))
    return Fairness(tuple(groups), tuple(tables))


def _members(faces: Sequence[LabeledFace], by: str) -> dict[str, NDArray[np.bool_]]:
    value_of = attribute_value(by)
    values = np.array([value_of(subject) or "" for subject in faces])
    return {value: values == value for value in label_space(by).class_labels if value in values}


def _groups(by: str, members: dict[str, NDArray[np.bool_]], right: NDArray[np.bool_]) -> tuple[Group, ...]:
    accuracies = {value: float(right[chosen].mean()) for value, chosen in members.items()}
    counts = {value: int(chosen.sum()) for value, chosen in members.items()}
    judged = [accuracies[value] for value in members if counts[value] >= LEAST] or list(accuracies.values())
    best = max(judged)
    return tuple(
        Group(by, value, counts[value], accuracies[value], max(0.0, best - accuracies[value])) for value in members
    )


def _rates(
    label: str,
    positive: NDArray[np.bool_],
    called: NDArray[np.bool_],
    members: Sequence[NDArray[np.bool_]],
    counted: Sequence[bool],
) -> LabelRates:
    true = tuple(_share(called, chosen & positive) for chosen in members)
    false = tuple(_share(called, chosen & ~positive) for chosen in members)
    return LabelRates(label, true, false, _gap(true, counted), _gap(false, counted))


def _share(called: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate:
    return float(called[among].mean()) if among.any() else None


def _gap(rates: Sequence[Rate], counted: Sequence[bool]) -> Rate:
    known = [rate for rate, counts in zip(rates, counted, strict=True) if rate is not None and counts]
    return max(known) - min(known) if len(known) > 1 else None
