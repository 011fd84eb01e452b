"""Aliases that move together, one promotion at a time, and back again."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promoting import GOOD, Registered, aliases, champion, spoiled
from register_models import Killed, kill_after

from components.promote import aliases as aliases_module
from components.promote import promote as promote_module
from components.promote.aliases import Moved, OtherChampionError, move_aliases, roll_back, served_with
from components.promote.history import MOST, TAG, Promotion, champions, read_promotions, write_promotions
from components.promote.lock import promotion_lock
from components.shared.tracking.registry import find_model
from components.shared.tracking.server import mlflow_client
from serving.runtime.errors import InputError, NotFoundError, StorageError


def create(name: str, versions: int, **tags: str) -> str:
    """Versions without a file, for tests that move aliases only; `tags` may say {} for the number."""
    client = mlflow_client()
    client.create_registered_model(name)
    for number in range(1, versions + 1):
        client.create_model_version(name, f"s3://nowhere/{name}/{number}", tags={
            key: text.replace("{}", str(number)) for key, text in tags.items()
        })  # fmt: skip
    return name


def last(name: str, alias: str = "champion") -> Promotion:
    return read_promotions(name, find_model(name).tags, alias)[-1]


def state(*names: str) -> list[str]:
    return [champion(name) for name in names]


def test_all_that_is_served_together_moves_together_and_back(tracking: str) -> None:
    detector = create("t-green", 3)
    model, whole = (
        create("t-masks", 3),
        create("t-people", 3, heads="models:/t-masks/{}", trained_detectors="models:/t-green/{}"),
    )
    names = (model, detector, whole)
    for number in ("1", "2", "3"):
        pairs = [(model, number), *served_with(model, number)]
        assert pairs == [(one, number) for one in names]
        moved = move_aliases(pairs, expected={model: str(int(number) - 1) if number != "1" else ""}, reason="tried")
        assert moved == [Moved(one, number, str(int(number) - 1) if number != "1" else "") for one in names]
        assert state(*names) == [number] * 3
        assert [one.previous for one in move_aliases(pairs)] == [number] * 3, "the same call once more changes nothing"
    for name in (model, detector):
        with pytest.raises(OtherChampionError) as other:
            move_aliases([(model, "1"), (detector, "1")], expected={name: "2"})
        assert (other.value.name, other.value.version) == (name, "3")
    with pytest.raises(NotFoundError, match="no version '9' of model 't-people'"):
        move_aliases([(model, "1"), (whole, "9")])
    assert state(*names) == ["3"] * 3
    assert roll_back(model)[0].line("champion") == "t-masks: version 2 is the champion (before: version 3)"
    assert state(*names) == ["2"] * 3
    assert [one.version for one in roll_back(model)] == ["1"] * 3 and state(*names) == ["1"] * 3
    with pytest.raises(InputError, match="'t-masks' has no earlier champion to go back to: version 1 is the only one"):
        roll_back(model)
    move_aliases([(model, "3"), (detector, "3"), (whole, "3")])
    assert [one.version for one in roll_back(model)] == ["1"] * 3, "back to what it was promoted over"
    history = read_promotions(model, find_model(model).tags, "champion")
    assert [(one.version, one.previous, one.rollback) for one in history] == [
        ("1", "", False), ("2", "1", False), ("3", "2", False), ("2", "3", True), ("1", "2", True),
        ("3", "1", False), ("1", "3", True),
    ]  # fmt: skip
    assert history[0].reason == "tried" and all(one.done for one in history)


def test_a_rollback_sees_what_was_promoted_while_it_waited_for_the_lock(
    tracking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the composite a champion, for the first time, before the rollback holds its lock."""
    model, whole = create("w-masks", 2), create("w-people", 2)
    move_aliases([(model, "1")])
    waiting = [[(model, "2"), (whole, "2")]]

    def lock(names: Iterable[str]) -> AbstractContextManager[Callable[[], None]]:
        if waiting:
            move_aliases(waiting.pop())
        return promotion_lock(names)

    monkeypatch.setattr(aliases_module, "promotion_lock", lock)
    assert [one.name for one in roll_back(model)] == [model, whole] and state(model, whole) == ["1", ""]


def test_what_had_no_alias_before_has_none_again(tracking: str) -> None:
    model, whole = create("n-masks", 2), create("n-people", 1)
    move_aliases([(model, "1")])
    move_aliases([(model, "2"), (whole, "1")])
    moved = roll_back(model)
    assert state(model, whole) == ["1", ""]
    assert moved[1].line("champion") == "n-people: has no champion any more (before: version 1)"
    for name in ("nobody", "a/b"):
        with pytest.raises(InputError, match=name):
            roll_back(name)


def test_an_alias_that_somebody_else_moved_counts(tracking: str) -> None:
    model = create("h-masks", 4)
    for number in ("1", "2"):
        move_aliases([(model, number)])
    mlflow_client().set_registered_model_alias(model, "champion", "4")
    assert [roll_back(model)[0].version for _ in range(2)] == ["2", "1"]
    mlflow_client().set_registered_model_tag(model, TAG, "not ours")
    with pytest.raises(InputError, match=f"the tag {TAG} of model 'h-masks' in MLflow is not what Facet wrote there"):
        move_aliases([(model, "3")])
    assert champion(model) == "1"


@given(st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=40))
@settings(max_examples=200, deadline=None)
def test_rollbacks_are_a_stack(moves: list[int | None]) -> None:
    """None rolls back; the history with its rollbacks tells the same as a stack of champions."""
    stack: list[str] = []
    history: list[Promotion] = []
    for move in moves:
        current = stack[-1] if stack else ""
        if move is None and len(stack) > 1:
            stack.pop()
            history.append(Promotion(version=stack[-1], previous=current, time="", rollback=True))
        elif move is not None and str(move) != current:
            stack.append(str(move))
            history.append(Promotion(version=str(move), previous=current, time=""))
        known = champions("m", history, {"m": stack[-1]} if stack else {})
        assert [one["m"] for one in known] == stack


def test_the_history_is_bounded(tracking: str) -> None:
    model = create("b-masks", 1)
    long = [Promotion(version=str(n), previous=str(n - 1), time="2026-01-01", reason="x" * 200) for n in range(1, 300)]
    write_promotions(model, long, "champion")
    text = find_model(model).tags[TAG]
    kept = read_promotions(model, find_model(model).tags, "champion")
    assert len(text) <= 5000 and kept[-1].version == "299" and 10 < len(kept) <= MOST
    assert len(champions(model, kept, {model: "299"})) == len(kept) + 1


@pytest.mark.slow
def test_a_promotion_that_is_killed_between_two_calls_is_completed_by_the_next(
    tracking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a rollback likewise: it goes one champion back, not two."""
    model, whole = create("k-masks", 2), create("k-people", 2)
    first, second = ([(model, number), (whole, number)] for number in "12")
    attempts, completed = 0, False
    while not completed:
        attempts += 1
        alias = f"try-{attempts}"
        move_aliases(first, alias)
        completed = True
        for call, end in ((partial(move_aliases, second, alias), "2"), (partial(roll_back, model, alias), "1")):
            with monkeypatch.context() as patch:
                kill_after(patch, attempts)
                try:
                    call()
                except Killed:
                    completed = False
            if [aliases(name)[alias] for name in (model, whole)] != [end, end] or not last(model, alias).done:
                call()
            assert [aliases(name)[alias] for name in (model, whole)] == [end, end], attempts
            assert last(model, alias).done
    assert attempts > 8


KILLED = """
import sys, time
from components.promote import aliases
from components.shared.tracking.server import mlflow_client
class Stopping:
    def __getattr__(self, name):
        return getattr(mlflow_client(), name)
    def set_registered_model_alias(self, *rest):
        mlflow_client().set_registered_model_alias(*rest)
        print("ready", flush=True)
        time.sleep(600)
aliases.mlflow_client = Stopping
aliases.move_aliases([("r-masks", "2"), ("r-people", "2")], reason="killed")
"""


def test_a_killed_process_leaves_no_lock(
    tracking: str, kill_when_ready: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 after the first of two aliases; the next call needs no help and finishes."""
    model, whole = create("r-masks", 2), create("r-people", 2)
    move_aliases([(model, "1"), (whole, "1")])
    kill_when_ready(KILLED)
    assert state(model, whole) == ["2", "1"]
    moved = move_aliases([(model, "2"), (whole, "2")], expected={model: "1"})
    assert state(model, whole) == ["2", "2"] and moved[0].previous == "2"
    entry = last(model)
    assert (entry.reason, entry.done, entry.others) == ("killed", True, {"r-people": ("2", "1")})
    assert [one.version for one in roll_back(model)] == ["1", "1"]


def test_a_server_that_dies_in_between_is_said(tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole = create("d-masks", 2), create("d-people", 2)

    class Failing:
        """A client whose server is gone when the composite's turn comes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(mlflow_client(), name)

        def set_registered_model_alias(self, name: str, *rest: str) -> None:
            if name == whole:
                raise StorageError("gone")
            mlflow_client().set_registered_model_alias(name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(aliases_module, "mlflow_client", Failing)
        with pytest.raises(StorageError, match=r"gone\nd-masks version 2 has the alias 'champion', d-people version 2"):
            move_aliases([(model, "2"), (whole, "2")])
    assert state(model, whole) == ["2", ""]
    move_aliases([(model, "2"), (whole, "2")])
    assert state(model, whole) == ["2", "2"]


def test_two_promotions_at_once_leave_the_better_champion(
    tracking: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is better than the champion that both began with; the slower one is compared with the quicker one, too."""
    one, middle, best = (
        Registered(faces, tmp_path / folder, "race", weights)
        for folder, weights in (("0", spoiled(0.6)), ("1", spoiled(0.3)), ("2", GOOD))
    )
    one.promote()
    quicker = [best]

    def move(*arguments: Any, **options: Any) -> list[Moved]:
        if quicker:
            assert quicker.pop().promote().promoted
        return move_aliases(*arguments, **options)

    monkeypatch.setattr(promote_module, "move_aliases", move)
    outcome = middle.promote()
    assert champion("race") == best.version and not outcome.promoted
    assert "version 3 of 'race' became the champion meanwhile; compared anew" in caplog.text
    assert "version 2 is worse than the champion, version 3" in outcome.reason
    history = read_promotions("race", find_model("race").tags, "champion")
    assert [one.previous for one in history] == ["", *(one.version for one in history[:-1])], (
        "no promotion over another"
    )


MOVING = """
import sys
from components.promote.aliases import move_aliases
for number in sys.argv[1:]:
    move_aliases([("p-masks", number), ("p-people", number)], reason=f"process {sys.argv[1]}")
"""


@pytest.mark.slow
def test_processes_at_once_leave_one_consistent_champion(tracking: str) -> None:
    model, whole = create("p-masks", 9), create("p-people", 9)
    orders = (("1", "2", "3", "4"), ("5", "6", "7", "8"), ("9", "1", "5", "3"))
    running = [subprocess.Popen([sys.executable, "-c", MOVING, *order]) for order in orders]
    assert [process.wait(300) for process in running] == [0, 0, 0]
    assert len(set(state(model, whole))) == 1, "model and composite are of the same promotion"
    history = json.loads(find_model(model).tags[TAG])
    assert [one["previous"] for one in history] == ["", *(one["version"] for one in history[:-1])]
    assert history[-1]["version"] == champion(model) and aliases(model) == {"champion": champion(model)}
    assert all(one["others"]["p-people"][0] == one["version"] for one in history)
