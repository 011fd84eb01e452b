"""Persons by ratio: groups of images assigned to splits of unequal shares, stratified by class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image
from components.shared.dataset.persons import by_person
from components.split.division import Division, Task
from serving.runtime.errors import InputError

ATTEMPTS = 20


def assign_groups(
    counts: npt.NDArray[np.int64], shares: Sequence[float], seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give every group to one split so that each class comes near its share everywhere.

    Groups are shuffled, then taken from the largest to the smallest, as scikit-learn's StratifiedGroupKFold does. Each
    goes where it lowers the most the sum over splits and classes of (count - target)^2 / (share * total^2), the total
    over all classes counting as one class more. A group is forced into a split that still lacks one of its classes
    when that class has no groups to spare. Other shuffles are tried when a class with enough groups still misses one.

    Args:
        counts: (groups, classes), faces of a class in a group.
        shares: positive shares of the splits, summing to 1.
        seed: of the shuffles.

    Returns:
        The split of every group, (groups,), and the classes that at least one split lacks.
    """
    assert np.isclose(sum(shares), 1), shares
    possible = (counts > 0).sum(axis=0) >= len(shares)
    for attempt in range(ATTEMPTS):
        order = np.random.default_rng([seed, attempt]).permutation(len(counts))
        order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
        assigned = _assign(counts, np.asarray(shares, dtype=np.float64), order)
        present = np.stack([(counts[assigned == split] > 0).any(axis=0) for split in range(len(shares))])
        lacking = np.flatnonzero(~present.all(axis=0))
        if not possible[lacking].any():
            break
    return assigned, lacking


def _assign(
    counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], order: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    columns = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1).astype(np.float64)
    totals = np.maximum(columns.sum(axis=0), 1)
    excess = -shares[:, None] * totals
    weights = 1 / (shares[:, None] * totals**2)
    has = counts > 0
    spare = has.sum(axis=0)
    lacks = np.ones((len(shares), counts.shape[1]), dtype=bool)
    assigned = np.empty(len(counts), dtype=np.int64)
    for group in order:
        added = columns[group]
        change = ((2 * excess + added) * added * weights).sum(axis=1)
        if lacks.any():
            forced = has[group] & (spare <= lacks.sum(axis=0))
            allowed = lacks[:, forced].all(axis=1)
            if allowed.any():
                change[~allowed] = np.inf
        split = int(change.argmin())
        assigned[group] = split
        excess[split] += added
        lacks[split] &= ~has[group]
        spare -= has[group]
    return assigned


def divide_persons(task: Task) -> Division:
    """Divide by the ratios; a val or test set that came with the data stays as it is, and its ratio is not used.

    Raises InputError when nothing is left to divide, or a class has fewer persons than there are splits.
    """
    existing, requested, pool = task.requested()
    shares = {name: ratio for name, ratio in requested.items() if ratio > 0}
    splits = _divide(pool, task, {"train": 1 - sum(shares.values()), **shares})
    splits.update({image.id: image.split for image in task.labeled if image.split in existing})
    return Division(splits, details={"given": existing, "asked": requested})


def groups_of(pool: list[Image]) -> list[list[Image]]:
    """Return the images of every person, in an order that does not depend on the order of the images."""
    return [members for _, members in sorted(by_person(pool).items(), key=lambda item: (type(item[0]) is int, item[0]))]


def class_table(groups: list[list[Image]], task: Task) -> npt.NDArray[np.int64]:
    """Return (groups, classes): how many faces of a class a group has."""
    counts = np.zeros((len(groups), len(task.space.class_labels)), dtype=np.int64)
    rows = [row for row, members in enumerate(groups) for image in members for _ in task.classes[image.id]]
    labels = [label for members in groups for image in members for label in task.classes[image.id]]
    np.add.at(counts, (rows, labels), 1)
    return counts


def _divide(pool: list[Image], task: Task, shares: dict[str, float]) -> dict[int, str]:
    """Return the split of every image of the pool. The order of the images does not matter."""
    groups = groups_of(pool)
    counts = class_table(groups, task)
    space = task.space
    persons = (counts > 0).sum(axis=0)
    few = [f"'{space.class_labels[index]}' has {persons[index]}" for index in np.flatnonzero(persons < len(shares))]
    advice = "choose a label space with larger classes, or set val_ratio or test_ratio to 0"
    if few:
        raise InputError(
            f"label space '{space.name}': {len(shares)} splits ({', '.join(shares)}) need at least as many persons in "
            f"every class, but class {', '.join(few)}; {advice}"
        )
    assigned, lacking = assign_groups(counts, list(shares.values()), task.seed)
    if len(lacking):
        raise InputError(
            f"label space '{space.name}': too few persons to put class "
            f"{', '.join(repr(space.class_labels[index]) for index in lacking)} into every split; {advice}"
        )
    names = list(shares)
    return {
        image.id: names[index] for index, members in zip(assigned.tolist(), groups, strict=True) for image in members
    }
