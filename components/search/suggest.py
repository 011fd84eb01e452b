"""Choose the next trials of a search, one round at a time. The same arguments give the same trials."""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from components.search.space import MAX_TRIALS, Changes, Space, check_changes, combinations, planned, read_space, text
from components.shared.options import unknown_name
from components.shared.trial import NO_TRIAL, Outcome, Trial
from serving.runtime.errors import InputError

log = logging.getLogger(__name__)

ROUNDS = 5
"""Rounds of a search, after each of which the results so far are used. A pipeline's graph is fixed, and so is this."""

_STARTUP = 10
"""Random trials that TPE begins with, Optuna's default; at most half of all trials."""

_MAX_FAILURES = 5
"""A search is given up when at least so many trials have failed and none has succeeded."""

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


def suggest(
    space: Mapping[str, Any],
    past: Sequence[Outcome],
    *,
    method: str,
    trials: int,
    seed: int,
    round_index: int,
) -> list[Trial]:
    """Choose the trials of one round. The rounds are of the same size, the first ones larger by one trial.

    Args:
        space: entries of the training config and the values they may take, see `space`.
        past: the outcomes of all trials so far, by number.
        method: grid, random or tpe.
        trials: the largest number of trials of the whole search.
        seed: seed of every random draw; the same arguments give the same trials.
        round_index: counts from 0 to ROUNDS - 1.

    Returns:
        The trials; NO_TRIAL alone when nothing is left to try.

    Raises:
        InputError: an argument is invalid, an outcome is missing or of another space, or all trials so far, five or
            more, have failed.
    """
    if method not in METHODS:
        raise InputError(unknown_name("search method", method, METHODS, importable=False))
    _check_range("trials", trials, 1, MAX_TRIALS)
    _check_range("round_index", round_index, 0, ROUNDS - 1)
    _check_range("seed", seed, 0, 2**63 - 1)
    dimensions = read_space(space)
    check_changes(dimensions, past)
    total = planned(dimensions, method, trials)
    begun = _begun(total, round_index)
    if [outcome.number for outcome in past] != list(range(begun)):
        numbers = ", ".join(str(outcome.number) for outcome in past) or "none"
        raise InputError(
            f"round {round_index} needs the outcomes of all {begun} trials before it, numbered from 0 on; got {numbers}"
        )
    if begun >= _MAX_FAILURES and all(outcome.score is None for outcome in past):
        raise InputError(f"all {begun} trials so far have failed, the first one with: {past[0].error}")
    count = _begun(total, round_index + 1) - begun
    sampler = METHODS["random" if method == "tpe" and begun < min(_STARTUP, total / 2) else method]
    chosen = sampler(dimensions, past, count, seed) if count else []
    for number, changes in enumerate(chosen, begun):
        log.info("trial %d of %d: %s", number, total, ", ".join(f"{key} {value}" for key, value in changes.items()))
    return [Trial(number=number, changes=changes) for number, changes in enumerate(chosen, begun)] or [NO_TRIAL]


def _check_range(name: str, value: int, lowest: int, largest: int) -> None:
    if not lowest <= value <= largest:
        raise InputError(f"{name} = {value}: expected {lowest} to {largest}")


def _begun(total: int, round_index: int) -> int:
    """Return how many of `total` trials belong to the rounds before this one."""
    each, more = divmod(total, ROUNDS)
    return each * round_index + min(more, round_index)


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
