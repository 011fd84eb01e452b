"""The queue keeps the order of a model's requests, shares the lanes' time between models, and counts what waits."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from serving.server.fair_queue import DEFAULT_PRIORITY, FairQueue


@dataclass(eq=False)
class Item:
    model: str
    rows: int = 1
    priority: int = DEFAULT_PRIORITY
    number: int = 0
    seconds: float = 0.0


def take(queue: FairQueue[Item], seconds: dict[str, float]) -> Item:
    """Pop a request, which then takes so many seconds a row of its model."""
    item = queue.pop()
    assert item is not None
    queue.took(item, item.rows * seconds[item.model])
    return item


def test_one_model_is_served_by_priority_and_then_in_order() -> None:
    queue: FairQueue[Item] = FairQueue()
    items = [Item("a", priority=priority, number=number) for number, priority in enumerate([5, 9, 1, 5, 1, 9])]
    for item in items:
        queue.push(item)
    assert [take(queue, {"a": 1.0}).number for _ in items] == [2, 4, 0, 3, 1, 5]
    assert queue.pop() is None


def test_models_get_equal_time_however_long_their_calls_take() -> None:
    """A heavy model whose queue is always full leaves a light one half of the time, not every second turn."""
    queue: FairQueue[Item] = FairQueue()
    seconds, spent, turns = {"heavy": 1.0, "light": 0.01}, Counter[str](), Counter[str]()
    for name in seconds:
        for _ in range(2000):
            queue.push(Item(name, rows=3 if name == "heavy" else 1))
    for _ in range(1000):
        item = take(queue, seconds)
        spent[item.model] += item.rows * seconds[item.model]
        turns[item.model] += 1
    assert turns["light"] > 100 * turns["heavy"]
    assert abs(spent["light"] - spent["heavy"]) <= 2 * 3


def test_time_in_which_a_model_asks_for_nothing_is_not_saved_up() -> None:
    queue: FairQueue[Item] = FairQueue()
    seconds = {"late": 1.0, "busy": 1.0}
    for _ in range(50):
        queue.push(Item("busy"))
        take(queue, seconds)
    for _ in range(20):
        queue.push(Item("busy"))
        queue.push(Item("late"))
    assert Counter(take(queue, seconds).model for _ in range(20)) == {"busy": 10, "late": 10}


def test_a_light_model_does_not_wait_for_the_whole_queue_of_a_heavy_one() -> None:
    queue: FairQueue[Item] = FairQueue()
    for name, seconds in (("heavy", 2.0), ("light", 0.1)):
        queue.push(Item(name))
        take(queue, {name: seconds})
    assert not queue.knows("heavy"), "a single call may be an odd one"
    for _ in range(10):
        queue.push(Item("heavy"))
    queue.push(Item("light"))
    assert queue.expected_s("heavy") == 20.0 + 0.1
    assert queue.expected_s("light") == 0.1 + 0.1


def test_a_few_slow_calls_move_no_estimate_but_many_do() -> None:
    queue: FairQueue[Item] = FairQueue()

    def expected(*calls: float) -> float:
        for seconds in calls:
            queue.push(Item("a"))
            take(queue, {"a": seconds})
        probe = Item("a")
        queue.push(probe)
        assert queue.remove(probe)
        return probe.seconds

    assert expected(10.0, 10.0) == 10.0 and not queue.knows("a") and not queue.knows("b")
    assert expected(0.02, 0.02, 0.02) == 0.02 and queue.knows("a")
    assert expected(10.0, 0.02, 10.0, 0.02) == 0.02
    assert expected(*[3.0] * 5) == 3.0


def test_what_takes_no_lane_is_not_charged() -> None:
    """Requests whose time is over when their turn comes leave their model the share that it had."""
    queue: FairQueue[Item] = FairQueue()
    for _ in range(10):
        for name in ("late", "other"):
            queue.push(Item(name))
            take(queue, {name: 1.0})
    for _ in range(20):
        queue.push(Item("late"))
        queue.push(Item("other"))
    for _ in range(10):
        while (item := queue.pop()) is not None and item.model == "other":
            queue.took(item, 1.0)
        assert item is not None
        queue.skip(item)
    assert len([item for item in (queue.pop() for _ in range(10)) if item and item.model == "late"]) >= 5


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "pop", "remove"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(1, 4),
        st.integers(1, 9),
        st.integers(0, 30),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_whatever_comes_each_request_leaves_once_and_in_order(
    actions: list[tuple[str, str, int, int, int]],
) -> None:
    queue: FairQueue[Item] = FairQueue()
    waiting: list[Item] = []
    for number, (action, model, rows, priority, index) in enumerate(actions):
        if action == "push":
            waiting.append(Item(model, rows, priority, number))
            queue.push(waiting[-1])
        elif action == "remove" and waiting:
            item = waiting.pop(index % len(waiting))
            assert queue.remove(item) and not queue.remove(item)
        elif action == "pop":
            popped = queue.pop()
            assert (popped is None) == (not waiting)
            if popped is not None:
                queue.took(popped, 0.1 * popped.rows)
                same = [item for item in waiting if item.model == popped.model]
                assert popped is min(same, key=lambda item: (item.priority, item.number))
                waiting.remove(popped)
        assert len(queue) == len(waiting)
        assert set(queue) == {item.model for item in waiting}
        for name in "abc":
            assert queue.rows(name) == sum(item.rows for item in waiting if item.model == name)
