"""The search methods: functions that choose the next trials. The same arguments give the same trials."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components.search.space import Changes, Dimension, Space, combinations, text
from components.shared.trial import Outcome

_MAX_DRAWS = 100

Sampler = Callable[[Space, Sequence[Outcome], int, int], list[Changes]]
"""Space, outcomes so far, number of trials to choose, seed of the search -> changes of the next trials."""


def grid(space: Space, past: Sequence[Outcome], count: int, seed: int) -> list[Changes]:
    """Go through all combinations in their order."""
    return list(itertools.islice(combinations(space), len(past), len(past) + count))


def random(space: Space, past: Sequence[Outcome], count: int, seed: int) -> list[Changes]:
    """Draw combinations that were not tried before, all equally likely."""
    return _untried(iter(()), space, past, count, seed)


def tpe(space: Space, past: Sequence[Outcome], count: int, seed: int) -> list[Changes]:
    """Sample with the tree-structured Parzen estimator of Optuna.

    The choice is random where the estimator suggests only combinations that were tried.
    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011.
    """
    from components.search.study import suggestions  # Optuna takes a second to import.

    return _untried(suggestions(space, past, _draw_seed(seed, past)), space, past, count, seed)


METHODS: Mapping[str, Sampler] = {"grid": grid, "random": random, "tpe": tpe}


def _untried(
    suggested: Iterator[Changes], space: Space, past: Sequence[Outcome], count: int, seed: int
) -> list[Changes]:
    """Choose untried combinations: from the suggestions, else random draws, else all combinations."""
    draws = _draws(space, np.random.default_rng(_draw_seed(seed, past)))
    taken = {text(trial.changes) for trial in past}
    chosen: list[Changes] = []
    for _ in range(count):
        sources = itertools.islice(suggested, _MAX_DRAWS), itertools.islice(draws, _MAX_DRAWS), combinations(space)
        chosen.append(next(changes for changes in itertools.chain(*sources) if text(changes) not in taken))
        taken.add(text(chosen[-1]))
    return chosen


def _draw_seed(seed: int, past: Sequence[Outcome]) -> int:
    """Return a different seed for every round of a search."""
    return int(np.random.SeedSequence([seed, len(past)]).generate_state(1)[0])


def _draws(space: Space, rng: np.random.Generator) -> Iterator[Changes]:
    while True:
        yield {key: _drawn(dimension, rng) for key, dimension in space.items()}


def _drawn(dimension: Dimension, rng: np.random.Generator) -> Any:
    if dimension.values is not None:
        return dimension.values[int(rng.integers(len(dimension.values)))]
    low, high = dimension.ends
    if dimension.loguniform is not None:
        return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)
    return float(rng.uniform(low, high))
