"""The trials that a search suggests: every method, round by round."""

import json
import math
import random
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from components.search.component import suggest as door
from components.search.suggest import ROUNDS, suggest
from components.shared.trial import NO_TRIAL, read_outcomes
from serving.runtime.errors import InputError

METHODS = ("grid", "random", "tpe")
COUNTABLE: dict[str, Any] = {
    "batch_size": [16, 32, 64, 128],
    "optimizer": ["Adam", {"name": "SGD", "arguments": {"momentum": 0.9}}, "AdamW"],
    "augmentation": ["myAlbumentationAug", "AugForInception"],
    "learning_rate": [0.00001, 0.0001, 0.001],
}
RANGES: dict[str, Any] = {
    "learning_rate": {"loguniform": [1e-5, 1e-1]},
    "augmentation.arguments.erasing": {"uniform": [0, 1]},
    "accumulate": {"int": [1, 8]},
    "optimizer": ["SGD", "Adam", "AdamW"],
}
Score = Callable[[Mapping[str, Any]], float | None]


def hill(changes: Mapping[str, Any]) -> float:
    """Highest at learning rate 0.001, erasing 0.3, AdamW."""
    rate, erasing = math.log10(changes["learning_rate"]) + 3, changes["augmentation.arguments.erasing"] - 0.3
    optimizer = {"SGD": 0.5, "Adam": 0.8, "AdamW": 1.0}[changes["optimizer"]]
    return optimizer * math.exp(-((rate / 0.8) ** 2)) * math.exp(-((erasing / 0.3) ** 2))


def as_kfp(value: Any) -> Any:
    """What a pipeline makes of a value: numbers are floats, keys come in any order."""
    if isinstance(value, dict):
        names = list(value)
        random.Random(0).shuffle(names)
        return {name: as_kfp(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [as_kfp(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def search(space: Mapping[str, Any], method: str, trials: int, seed: int, score: Score) -> list[list[dict[str, Any]]]:
    """The outcomes of a search, round by round, with everything handed over as KFP does."""
    past: list[dict[str, Any]] = []
    rounds = []
    for index in range(ROUNDS):
        outcomes = read_outcomes(as_kfp(past))
        chosen = suggest(as_kfp(space), outcomes, method=method, trials=trials, seed=seed, round_index=index)
        made = [trial.model_dump() for trial in chosen if trial != NO_TRIAL]
        assert len(made) == len(chosen) or len(chosen) == 1
        rounds.append([{**one, **outcome(score(one["changes"]))} for one in made])
        past += rounds[-1]
    return rounds


def outcome(score: float | None) -> dict[str, Any]:
    return {"error": "the loss is nan"} if score is None else {"score": score, "metrics": {"val_loss": 1 - score}}


def flat(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [one for each in rounds for one in each]


def test_a_grid_tries_every_combination_once() -> None:
    made = flat(search(COUNTABLE, "grid", 100, 0, lambda _: 0.5))
    tried = [json.dumps(one["changes"], sort_keys=True) for one in made]
    assert len(tried) == len(set(tried)) == 4 * 3 * 2 * 3
    for key, values in COUNTABLE.items():
        assert {json.dumps(one["changes"][key], sort_keys=True) for one in made} == {
            json.dumps(value, sort_keys=True) for value in values
        }


@pytest.mark.parametrize("method", METHODS)
def test_no_combination_is_tried_twice_and_all_are_given_enough_trials(method: str) -> None:
    space = {"a": [1, 2, 3], "b": {"int": [0, 2]}}
    made = flat(search(space, method, 50, 1, lambda changes: changes["a"] / 10))
    assert len({str(sorted(one["changes"].items())) for one in made}) == len(made) == 9
    assert [one["number"] for one in made] == list(range(9))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("trials", "sizes"), [(1, [1, 0, 0, 0, 0]), (2, [1, 1, 0, 0, 0]), (12, [3, 3, 2, 2, 2]), (20, [4, 4, 4, 4, 4])]
)
def test_rounds_share_the_trials_evenly(method: str, trials: int, sizes: list[int]) -> None:
    """A round without a trial has one item, NO_TRIAL."""
    space = {"a": list(range(trials))}
    assert [len(each) for each in search(space, method, trials, 0, lambda _: 0.5)] == sizes


@pytest.mark.parametrize("method", ["random", "tpe"])
@pytest.mark.parametrize("space", [COUNTABLE, RANGES])
def test_the_seed_determines_the_trials(method: str, space: dict[str, Any]) -> None:
    first, again, other = (
        flat(search(space, method, 15, seed, lambda changes: 0.3 + 100 * changes["learning_rate"] % 0.5))
        for seed in (7, 7, 8)
    )
    assert first == again
    assert [one["changes"] for one in first] != [one["changes"] for one in other]


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_values_are_within_their_ranges_and_of_their_kinds(method: str) -> None:
    made = [one["changes"] for one in flat(search(RANGES, method, 60, 3, hill))]
    rates = [changes["learning_rate"] for changes in made]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert all(0 <= changes["augmentation.arguments.erasing"] <= 1 for changes in made)
    assert all(type(changes["accumulate"]) is int and 1 <= changes["accumulate"] <= 8 for changes in made)
    assert {changes["optimizer"] for changes in made} == {"SGD", "Adam", "AdamW"}
    if method == "random":
        assert 1e-4 < statistics.median(rates) < 1e-2, "all orders of magnitude are equally likely"


def test_tpe_learns_from_what_was_reached() -> None:
    """It finds more than random search does, and nothing more when the scores say nothing."""
    wins, gains = 0, []
    for seed in range(8):
        best = {
            method: max(one["score"] for one in flat(search(RANGES, method, 30, seed, hill))) for method in METHODS[1:]
        }
        wins += best["tpe"] > best["random"]
        gains.append(best["tpe"] - best["random"])
    assert wins >= 6 and statistics.mean(gains) > 0.05
    made = flat(search(RANGES, "tpe", 30, 0, hill))
    late = statistics.mean(one["score"] for one in made[20:])
    assert late > 2 * statistics.mean(one["score"] for one in made[:10])


@pytest.mark.parametrize(("trials", "rounds"), [(5, 3), (6, 2), (10, 3), (20, 3), (25, 2), (50, 1)])
def test_tpe_begins_with_random_trials(trials: int, rounds: int) -> None:
    """Random are the rounds that begin before the tenth trial and before half of them."""
    guided, drawn = (search(RANGES, method, trials, 5, hill) for method in ("tpe", "random"))
    same = [[one["changes"] for one in a] == [one["changes"] for one in b] for a, b in zip(guided, drawn, strict=True)]
    assert same == [True] * rounds + [False] * (ROUNDS - rounds)


def test_tpe_keeps_away_from_what_fails() -> None:
    """A failed trial counts as the worst score there is."""

    def score(changes: Mapping[str, Any]) -> float | None:
        return None if changes["learning_rate"] > 1e-3 else 0.5 + 0.1 * changes["augmentation.arguments.erasing"]

    searches = [flat(search(RANGES, "tpe", 40, seed, score)) for seed in range(4)]
    first, last = (
        sum("error" in one for made in searches for one in part(made)) for part in (lambda m: m[:10], lambda m: m[-10:])
    )
    assert first >= 12 and last <= first / 2


def test_a_search_whose_trials_all_fail_ends_early() -> None:
    """A few failures at the beginning do not end it."""
    with pytest.raises(InputError, match="all 8 trials so far have failed, the first one with: the loss is nan"):
        search(RANGES, "tpe", 20, 0, lambda _: None)
    assert len(flat(search(RANGES, "tpe", 5, 0, lambda _: None))) == 5
    with pytest.raises(InputError, match="all 5 trials so far have failed"):
        search(RANGES, "tpe", 25, 0, lambda _: None)


def test_a_wrong_method_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown search method 'gird', did you mean 'grid'\?; known: grid, random"):
        suggest(COUNTABLE, [], method="gird", trials=9, seed=0, round_index=0)


def test_the_component_returns_the_outcomes_of_all_rounds() -> None:
    first = door.python_func(space=RANGES, method="tpe", trials=10, seed=0)
    assert [one["number"] for one in first[0]] == [0, 1] and first[1] == []
    outcomes = [{**one, "score": 0.5} for one in first[0]]
    second = door.python_func(space=RANGES, method="tpe", trials=10, seed=0, round_index=1, outcomes=outcomes)
    assert [one["number"] for one in second[0]] == [2, 3] and second[1] == outcomes
    space, tried = {"a": [1]}, {"number": 0, "changes": {"a": 1}, "score": 0.5}
    last = door.python_func(space=space, method="grid", trials=9, seed=0, round_index=2, past=[tried], outcomes=[{}])
    assert (last[0], last[1]) == ([NO_TRIAL.model_dump()], [tried])
