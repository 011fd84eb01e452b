"""The order in which an epoch sees the faces: a function of (seed, epoch), alike for any number of processes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.label_spaces import LabelSpace
from components.train_classifier.config.objective import SamplingSpec
from serving.runtime.errors import InputError

Indices = NDArray[np.int64]

# The first number of a seed keeps streams apart that would otherwise share one.
_ORDER_STREAM = 1


def class_indices(attributes: Sequence[Mapping[str, Any]], space: LabelSpace) -> Indices:
    """Return the class of every face in `space`. Raises InputError when a face has none."""
    found = []
    for face in attributes:
        heads = space.encode(face)
        if heads is None:
            needed = ", ".join(space.attributes)
            raise InputError(
                f"sampling by '{space.name}' needs the attributes {needed} of every training face, got {face}"
            )
        found.append(space.class_index(heads))
    return np.array(found, dtype=np.int64)


def epoch_order(sampling: SamplingSpec, classes: Indices, *, seed: int, epoch: int) -> Indices:
    """Return the faces of an epoch in order, as many as there are: int64 (N,) indices.

    `classes` is the class of every face (N,); classes that no face has do not count.
    """
    rng = np.random.default_rng((_ORDER_STREAM, seed, epoch))
    count = len(classes)
    if sampling.name == "shuffle":
        return rng.permutation(count)
    _, inverse, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    if sampling.name == "inverse_frequency":
        return rng.choice(count, size=count, p=1 / (len(sizes) * sizes[inverse]))
    # Which classes get one draw more than the others, when the draws cannot be shared equally, is drawn as well.
    shares = np.full(len(sizes), count // len(sizes))
    shares[rng.permutation(len(sizes))[: count % len(sizes)]] += 1
    drawn = [in_turn(np.flatnonzero(inverse == at), int(share), rng) for at, share in enumerate(shares)]
    return rng.permutation(np.concatenate(drawn))


def in_turn(members: Indices, needed: int, rng: np.random.Generator) -> Indices:
    """Return `needed` of `members` in random order; none a second time before every one had its turn."""
    rounds = [rng.permutation(members) for _ in range(-(-needed // len(members)))]
    return np.concatenate([*rounds, members[:0]])[:needed]


def epoch_batches(order: Indices, batch_size: int, *, rank: int = 0, world_size: int = 1) -> list[Indices]:
    """Cut an epoch into batches and return the part of each that process `rank` of `world_size` trains on.

    The parts of all processes in a row are the batch that one process alone would have. Batches differ in size by one
    at most, and so do the parts: weight the mean loss of a part by its size. Raises InputError when there are more
    processes than faces in a batch.
    """
    batches = np.array_split(order, max(1, -(-len(order) // batch_size)))
    smallest = len(batches[-1])
    if smallest < world_size:
        raise InputError(
            f"{world_size} processes cannot share a batch of {smallest} faces; raise batch_size or start fewer"
        )
    return [np.array_split(batch, world_size)[rank] for batch in batches]
