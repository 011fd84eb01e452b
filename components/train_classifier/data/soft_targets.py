"""Soft targets: one distribution over the labels per head, from the attributes of a face."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.label_spaces import LabelSpace, canonical_value, label_space
from components.shared.dataset.table import read_table, shipped_tables
from components.train_classifier.config.objective import SoftTargetSpec
from serving.runtime.errors import InputError

Distribution = NDArray[np.float32]

SHIPPED_TABLES = shipped_tables(__file__)
"""The tables of persons that ship with the step, by name."""

ATTRIBUTE = "soft_targets"
"""The annotation attribute with soft targets: {"gender": {"male": 0.5, "female": 0.5}}; labels left out have 0."""

_SUM_TOLERANCE = 1e-3


class SoftTargets:
    """Turns the attributes of a face into its targets.

    For each attribute the first of these sources applies: the table of persons whose attribute is ambiguous, the soft
    targets of the annotation, the label with its certainty. `uncertain` has the persons of each attribute's table, by
    exact id.
    """

    def __init__(self, spec: SoftTargetSpec, space: LabelSpace) -> None:
        """Read the tables. Raises InputError for an unusable table or an attribute that is not in `space`."""
        for field, entries in (("certainty", spec.certainty), ("uncertain", spec.uncertain)):
            for attribute in entries:
                if attribute not in space.attributes:
                    raise InputError(
                        f"soft_targets: '{field}' names the attribute '{attribute}', but label space '{space.name}' "
                        f"is made of: {', '.join(space.attributes)}"
                    )
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


def _stated(attribute: str, labels: tuple[str, ...], shares: Any) -> NDArray[np.float64]:
    where = f"attribute '{ATTRIBUTE}', '{attribute}'"
    if not isinstance(shares, Mapping):
        raise InputError(f"{where}: expected a mapping from labels to probabilities, got {shares!r}")
    distribution: NDArray[np.float64] = np.zeros(len(labels))
    for label, share in shares.items():
        try:
            name = label if attribute == "age" else canonical_value(attribute, label)
        except InputError:
            name = None
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
