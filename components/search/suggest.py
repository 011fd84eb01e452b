"""What a search tries next: one round of trainings at a time."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from components.search.samplers import METHODS
from components.search.space import planned, read_space
from components.search.trial import read_trials
from components.shared.by_name import unknown_name
from serving.runtime.errors import InputError

log = logging.getLogger(__name__)

ROUNDS = 5
"""How often a search looks at its results. A pipeline's graph is fixed, and so is the number of its rounds."""

_STARTUP = 10
"""How many random trials TPE begins with, as Optuna does; half of a search that makes fewer than twice as many."""

_HOPELESS = 5
"""How many trials must have failed, and none gone well, for a search to be given up."""

NO_TRIAL: Mapping[str, Any] = {"number": -1, "changes": {}}
"""Stands in a round for which no trial is left: KFP's local runner cannot collect the results of an empty loop."""


def suggest(
    space: Mapping[str, Any],
    past: Sequence[Mapping[str, Any]],
    *,
    method: str,
    trials: int,
    seed: int,
    round_index: int,
) -> list[dict[str, Any]]:
    """Choose the trials of one round. The rounds are of the same size, the first ones larger by one trial.

    Args:
        space: entries of the training config and the values they may take, see `space`.
        past: the outcomes of all trials so far.
        method: grid, random or tpe.
        trials: how many trials the whole search may make.
        seed: start of every random draw; the same arguments give the same trials.
        round_index: counts from 0 to ROUNDS - 1.

    Returns:
        The `number` and the `changes` of each trial; NO_TRIAL alone when there is nothing left to try.

    Raises:
        InputError: the space or the method is none, or five and more trials have failed and none has gone well.
    """
    if method not in METHODS:
        raise InputError(unknown_name("search method", method, METHODS, importable=False))
    dimensions = read_space(space)
    total = planned(dimensions, method, trials)
    tried = read_trials(past)
    begun = _begun(total, round_index)
    assert [trial.number for trial in tried] == list(range(begun)), "a trial has no outcome"
    if begun >= _HOPELESS and all(trial.score is None for trial in tried):
        raise InputError(f"all {begun} trials so far have failed, the first one so: {tried[0].error}")
    count = _begun(total, round_index + 1) - begun
    sampler = METHODS["random" if method == "tpe" and begun < min(_STARTUP, total / 2) else method]
    chosen = sampler(dimensions, tried, count, seed) if count else []
    for number, changes in enumerate(chosen, begun):
        log.info("trial %d of %d: %s", number, total, ", ".join(f"{key} {value}" for key, value in changes.items()))
    return [{"number": number, "changes": changes} for number, changes in enumerate(chosen, begun)] or [dict(NO_TRIAL)]


def _begun(total: int, round_index: int) -> int:
    """How many of `total` trials belong to the rounds before this one."""
    each, more = divmod(total, ROUNDS)
    return each * round_index + min(more, round_index)
