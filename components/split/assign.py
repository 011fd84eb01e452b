"""Greedy stratified assignment of groups to splits of unequal shares."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
