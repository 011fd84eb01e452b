"""Persons by ratio: stratified by class, every person on one side only."""

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image
from components.shared.dataset.persons import by_person
from components.split.assign import assign_groups
from components.split.division import Division, Task
from serving.runtime.errors import InputError


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
