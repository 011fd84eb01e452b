"""Persons by ratio: groups of images assigned to splits of unequal shares, stratified by class.

scikit-learn's StratifiedGroupKFold makes folds of equal shares only.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image
from components.shared.dataset.persons import by_person
from components.split.division import Division, Task
from serving.runtime.errors import InputError

ATTEMPTS = 20
_NO_GAIN = 1e-9


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
    columns, goals, weights = _targets(counts, shares)
    excess = -goals
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


_Move = tuple[float, float, float]
"""What decides between moves: classes that a split loses by it, how much nearer the shares are, the sum that
`assign_groups` lowers."""


def near_shares(
    assigned: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    shares: Sequence[float],
) -> npt.NDArray[np.int64]:
    """Move single groups until no move brings the splits but the first, which takes the rest, nearer to their shares.

    Stratification and coverage alone would have a group of every class in every split, which is far from the shares in
    a small data set. No split loses its last group, and the first one none of its classes: but for that, a split is
    away from its share in the end by at most half of any group it could give or take.

    Args:
        assigned: the split of every group, (groups,).
        counts: (groups, classes), faces of a class in a group.
        sizes: images in a group, (groups,), which the shares are about.
        shares: positive shares of the splits, summing to 1.

    Returns:
        The split of every group, (groups,).
    """
    assigned = assigned.copy()
    columns, goals, weights = _targets(counts, np.asarray(shares, dtype=np.float64))
    wanted = np.asarray(shares) * sizes.sum()
    pairs = list(permutations(range(len(shares)), 2))
    while True:
        members = [np.flatnonzero(assigned == split) for split in range(len(shares))]
        off = np.array([sizes[groups].sum() for groups in members]) - wanted
        excess = np.stack([columns[groups].sum(axis=0) for groups in members]) - goals
        having = np.stack([(counts[groups] > 0).sum(axis=0) for groups in members])
        moves: list[tuple[_Move, int, int]] = []
        for source, target in pairs:
            groups = members[source]
            size, added, has = sizes[groups], columns[groups], counts[groups] > 0
            gain = _distance(off, source, 0 * size) + _distance(off, target, 0 * size)
            gain -= _distance(off, source, -size) + _distance(off, target, size)
            lost = (has & (having[source] == 1)).sum(axis=1)
            won = (has & (having[target] == 0)).sum(axis=1)
            change = ((added - 2 * excess[source]) * added * weights[source]).sum(axis=1)
            change += ((added + 2 * excess[target]) * added * weights[target]).sum(axis=1)
            allowed = (gain > _NO_GAIN) & (len(groups) > 1) & ((source > 0) | (lost == 0))
            if allowed.any():
                first = np.lexsort((change, -gain, lost - won, ~allowed))[0]
                move = float(lost[first] - won[first]), -float(gain[first]), float(change[first])
                moves.append((move, int(groups[first]), target))
        if not moves:
            return assigned
        _, group, target = min(moves)
        assigned[group] = target


def _distance(off: npt.NDArray[np.float64], split: int, change: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how far a split is from its share after a change; 0 for the first, which takes the rest."""
    distance: npt.NDArray[np.float64] = np.abs(off[split] + change) * bool(split)
    return distance


def _targets(
    counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (groups, classes + 1) counts with their total as one class more, their targets per split, and weights."""
    columns = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1).astype(np.float64)
    totals = np.maximum(columns.sum(axis=0), 1)
    return columns, shares[:, None] * totals, 1 / (shares[:, None] * totals**2)


def divide_persons(task: Task) -> Division:
    """Divide by the ratios; a val or test set that came with the data stays as it is, and its ratio is not used.

    Val and test come as near to their ratios as whole persons allow. A class that one of them lacks for that is noted.
    Raises InputError when nothing is left to divide, or a class has fewer persons than there are splits.
    """
    existing, requested, pool = task.requested()
    shares = {name: ratio for name, ratio in requested.items() if ratio > 0}
    splits, lacking = _divide(pool, task, {"train": 1 - sum(shares.values()), **shares})
    splits.update({image.id: image.split for image in task.labeled if image.split in existing})
    return Division(splits, details={"given": existing, "asked": requested, "lacking": lacking})


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


def _divide(pool: list[Image], task: Task, shares: dict[str, float]) -> tuple[dict[int, str], dict[str, list[str]]]:
    """Return the split of every image of the pool, and the classes that a split lacks.

    The order of the images does not matter.
    """
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
    assigned, _ = assign_groups(counts, list(shares.values()), task.seed)
    sizes = np.array([len(members) for members in groups])
    assigned = near_shares(assigned, counts, sizes, list(shares.values()))
    names = list(shares)
    splits = {
        image.id: names[index] for index, members in zip(assigned.tolist(), groups, strict=True) for image in members
    }
    present = [(counts[assigned == index] > 0).any(axis=0) for index in range(len(names))]
    lacking = {
        name: [label for label, there in zip(space.class_labels, has, strict=True) if not there]
        for name, has in zip(names, present, strict=True)
        if not has.all()
    }
    if names[0] in lacking:
        raise InputError(f"label space '{space.name}': too few persons to put {lacking[names[0]]} into train; {advice}")
    return splits, lacking
