"""The search methods: functions that choose the next trials. The same arguments give the same trials."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from components.search.space import Changes, Space, combinations, text
from components.shared.trial import Outcome

_MAX_DRAWS = 100

Sampler = Callable[[Space, Sequence[Outcome], int, int], list[Changes]]
"""Space, outcomes so far, number of trials to choose, seed of the search -> changes of the next trials."""


def grid(space: Space, past: Sequence[Outcome], count: int, seed: int) -> list[Changes]:
    """Go through all combinations in their order."""
    return list(itertools.islice(combinations(space), len(past), len(past) + count))


def random(space: Space, past: Sequence[Outcome], count: int, seed: int) -> list[Changes]:
    """Draw combinations that were not tried before, all equally likely."""
    return _untried(space, past, count, seed, guided=False)


def tpe(space: Space, past: Sequence[Outcome], count: int, seed: int) -> list[Changes]:
    """Sample with the tree-structured Parzen estimator of Optuna.

    The choice is random where the estimator suggests only combinations that were tried.
    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011.
    """
    return _untried(space, past, count, seed, guided=True)


METHODS: Mapping[str, Sampler] = {"grid": grid, "random": random, "tpe": tpe}


def _untried(space: Space, past: Sequence[Outcome], count: int, seed: int, *, guided: bool) -> list[Changes]:
    """Choose untried combinations: from the estimator if `guided`, else random draws, else all combinations."""
    from components.search.study import suggestions  # Optuna takes a second to import.

    round_seed = int(np.random.SeedSequence([seed, len(past)]).generate_state(1)[0])
    draws = suggestions(space, past, round_seed, guided=False)
    guesses = suggestions(space, past, round_seed, guided=True) if guided else draws
    taken = {text(trial.changes) for trial in past}
    chosen: list[Changes] = []
    for _ in range(count):
        sources = itertools.islice(guesses, _MAX_DRAWS), itertools.islice(draws, _MAX_DRAWS), combinations(space)
        chosen.append(next(changes for changes in itertools.chain(*sources) if text(changes) not in taken))
        taken.add(text(chosen[-1]))
    return chosen
