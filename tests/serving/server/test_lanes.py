"""Lanes: who gets one when, what is refused, and that each caller gets exactly what it gets alone."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_requests import picture
from tiny_detector import build_detector
from tiny_model import build_model, card_facts

from serving.runtime.execution import Execution, Mode, set_execution
from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.runtime.work import AbandonedError, Work
from serving.server.answer import Picture, answers
from serving.server.inference import Tensor, infer
from serving.server.lanes import BusyError, Call, DeadlineError, Lanes
from serving.server.limits import Limits


class Named:
    """A model, as far as lanes know one."""

    version = "1"

    def __init__(self, name: str) -> None:
        self.name = name


A, B = cast(Predictor, Named("a")), cast(Predictor, Named("b"))


class Scene:
    """Lanes whose calls are held until they are released."""

    def __init__(self, **limits: Any) -> None:
        self.calls: list[Call] = []
        self.lanes = Lanes(Limits(**limits), self.calls.append)
        self.gate = threading.Event()
        self.order: list[object] = []

    def hold(self, what: object = None) -> Callable[[Work], object]:
        def function(work: Work) -> object:
            self.order.append(what)
            assert self.gate.wait(20)
            work.check()
            return what

        return function

    async def until_waiting(self, count: int) -> None:
        while self.lanes.waiting != count or not self.lanes.busy:
            await asyncio.sleep(0.001)


def test_a_deadline_that_passes_in_the_queue_costs_no_compute() -> None:
    scene = Scene()

    async def play() -> None:
        first = asyncio.create_task(scene.lanes.run(scene.hold("first"), A))
        await scene.until_waiting(0)
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"no result before the deadline, 0\.050 s after"):
            await scene.lanes.run(scene.hold("late"), A, deadline=time.monotonic() + 0.0505)
        assert time.monotonic() - began < 1
        with pytest.raises(DeadlineError):
            await scene.lanes.run(scene.hold("over before it came"), A, deadline=began)
        scene.gate.set()
        assert await first == "first"

    asyncio.run(play())
    assert scene.order == ["first"] and [call.failed for call in scene.calls] == [False]


def test_a_deadline_ends_what_is_computed_too() -> None:
    """Also one that is later than the longest time in the queue."""
    scene, ended = Scene(wait_s=0.5), threading.Event()

    def function(work: Work) -> None:
        try:
            while True:
                work.check()
                time.sleep(0.001)
        finally:
            ended.set()

    async def play() -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineError):
            await scene.lanes.run(function, A, deadline=began + 0.6)
        assert 0.6 <= time.monotonic() - began < 2
        assert await asyncio.to_thread(ended.wait, 5)

    asyncio.run(play())
    assert [call.failed for call in scene.calls] == [True]


def test_lower_priorities_come_first_and_a_refusal_says_when_to_come_again() -> None:
    scene = Scene(max_waiting=24, wait_s=30.0)

    async def play() -> None:
        for _ in range(5):
            await scene.lanes.run(lambda work: time.sleep(0.06), A)
        tasks = [asyncio.create_task(scene.lanes.run(scene.hold("first"), A))]
        await scene.until_waiting(0)
        for priority in (0, 9, 1, 200):
            tasks.append(asyncio.create_task(scene.lanes.run(scene.hold(priority), A, 6, priority=priority)))
        await scene.until_waiting(4)
        with pytest.raises(BusyError, match=r"4 requests wait already, about 1\.\d s") as caught:
            await scene.lanes.run(scene.hold(), A)
        assert caught.value.retry_after_s == 2
        # What could never be in time is refused before it waits.
        with pytest.raises(BusyError):
            scene.lanes.check_queue(A, 1, time.monotonic() + 0.1)
        # A full queue of one model is no reason to refuse another.
        scene.lanes.check_queue(B)
        scene.gate.set()
        assert await asyncio.gather(*tasks) == ["first", 0, 9, 1, 200]

    asyncio.run(play())
    assert scene.order == ["first", 1, 0, 9, 200]


def test_two_slow_pictures_are_no_reason_to_refuse_the_next_burst() -> None:
    """However slow they were, and also where they were the first that the model ever saw."""
    scene = Scene(lanes=2, wait_s=0.3)

    async def play() -> None:
        for quick in (0, 7):
            for seconds in (*[0.001] * quick, 0.2, 0.2):
                await scene.lanes.run(lambda work, seconds=seconds: time.sleep(seconds), A)
            await asyncio.gather(*(scene.lanes.run(lambda work: time.sleep(0.001), A) for _ in range(16)))

    asyncio.run(play())
    assert len(scene.calls) == 2 + 16 + 7 + 2 + 16


def test_requests_that_came_too_late_are_not_held_against_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that finds a request whose time is over charges nothing; without that the next one would wait for B."""
    scene = Scene(lanes=1)

    async def play() -> None:
        for model in (A, B):
            await scene.lanes.run(lambda work: time.sleep(0.03), model)
        used = scene.lanes._queue._lines["a"].used
        first = asyncio.create_task(scene.lanes.run(scene.hold("first"), A))
        await scene.until_waiting(0)
        monkeypatch.setattr(Lanes, "_watch", lambda *_: None)  # as when the lane is quicker than the timer
        late = [scene.lanes.run(scene.hold("late"), A, deadline=time.monotonic() + 0.2) for _ in range(3)]
        tasks = [asyncio.create_task(one) for one in late]
        await scene.until_waiting(3)
        await asyncio.sleep(0.21)
        scene.gate.set()
        await first
        for task in tasks:
            with pytest.raises(DeadlineError):
                await task
        assert scene.lanes._queue._lines["a"].used == pytest.approx(used + scene.calls[2].input_s, abs=0.01)

    asyncio.run(play())
    assert scene.order == ["first"]


def test_rows_are_counted_and_not_requests() -> None:
    scene = Scene(max_waiting=10)

    async def play() -> None:
        tasks = [asyncio.create_task(scene.lanes.run(scene.hold(), A))]
        await scene.until_waiting(0)
        # What finds nothing waiting may wait however large it is: it would never fit.
        tasks.append(asyncio.create_task(scene.lanes.run(scene.hold(), B, 1000)))
        tasks.append(asyncio.create_task(scene.lanes.run(scene.hold(), A, 8)))
        await scene.until_waiting(2)
        with pytest.raises(BusyError):
            await scene.lanes.run(scene.hold(), A, 3)
        tasks.append(asyncio.create_task(scene.lanes.run(scene.hold(), A, 2)))
        await scene.until_waiting(3)
        scene.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(play())
    assert sorted(call.rows for call in scene.calls) == [1, 2, 8, 1000]


def test_a_heavy_model_does_not_starve_a_light_one() -> None:
    """Eight clients of the heavy one all the time; the light one waits for a lane, not for their queue."""
    scene = Scene(lanes=2)
    seconds: list[float] = []

    async def play() -> None:
        async def client() -> None:
            while len(seconds) < 10:
                await scene.lanes.run(lambda work: time.sleep(0.04), A)

        heavy = [asyncio.create_task(client()) for _ in range(8)]
        await asyncio.sleep(0.2)
        while len(seconds) < 10:
            began = time.monotonic()
            await scene.lanes.run(lambda work: time.sleep(0.001), B)
            seconds.append(time.monotonic() - began)
        await asyncio.gather(*heavy)

    asyncio.run(play())
    assert sorted(seconds)[5] < 0.08, seconds


def test_an_error_is_the_callers_and_the_lane_goes_on() -> None:
    scene = Scene()

    def fail(work: Work) -> None:
        raise ZeroDivisionError

    async def play() -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await scene.lanes.run(fail, A)
        assert await scene.lanes.run(lambda work: 7, A) == 7
        assert not scene.lanes.busy

    asyncio.run(play())
    assert [call.failed for call in scene.calls] == [True, True, True, False]


def test_lanes_end_when_they_are_closed() -> None:
    scene = Scene(lanes=3)
    asyncio.run(scene.lanes.run(lambda work: None, A))
    threads = scene.lanes._threads
    scene.lanes.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


# --- each caller gets its own answer ---------------------------------------------------------------------------------

FILES = {
    "tiny": build_model(),
    "other": build_model(card_facts(name="other", heads=[{"name": "hat", "labels": ["none", "cap", "hood"]}])),
    "green": build_detector(),
}
MODES: tuple[Mode, ...] = ("lanes", "batch")


def opened(mode: Mode) -> dict[str, Predictor]:
    set_execution(Execution(threads=2, lanes=4, mode=mode))
    try:
        return {name: open_model(content, name=name) for name, content in FILES.items()}
    finally:
        set_execution(Execution())


MODELS = {mode: opened(mode) for mode in MODES}
ALONE = {name: open_model(content, name=name, threads=1) for name, content in FILES.items()}
PICTURES = [picture(seed, kind) for seed, kind in enumerate(["JPEG", "PNG", "JPEG", "WEBP"])]

REQUEST = st.tuples(
    st.sampled_from(list(FILES)), st.booleans(), st.integers(1, 12), st.integers(0, 99), st.sampled_from([0, 1, 9])
)


def ask(models: dict[str, Predictor], name: str, prepared: bool, rows: int, seed: int, work: Work | None) -> Any:
    """Send prepared pixels or files to a model; returns arrays and texts."""
    model = models[name]
    if not prepared:
        chosen = [Picture(PICTURES[(seed + row) % len(PICTURES)]) for row in range(min(rows, 4))]
        return answers(model, chosen, work)
    size = (64, 96) if name == "green" and seed % 2 else (64, 64) if name == "green" else (40, 32)
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, *size, 3), dtype=np.uint8)
    outputs = infer(model, [Tensor("images", "UINT8", pixels.shape, pixels)], work=work)
    return {output.name: np.asarray(output.data).tolist() for output in outputs}


def expect_same(found: Any, expected: Any, tolerance: float) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            expect_same(found[key], value, tolerance)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            expect_same(one, other, tolerance)
    elif isinstance(expected, float):
        assert abs(found - expected) <= tolerance
    else:
        assert found == expected


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=15)
@given(requests=st.lists(REQUEST, min_size=1, max_size=24), leaving=st.sets(st.integers(0, 23), max_size=4))
def test_each_caller_gets_the_answer_that_it_gets_alone(
    mode: Mode, requests: Sequence[tuple[str, bool, int, int, int]], leaving: set[int]
) -> None:
    """Some callers leave while they wait or are computed. One thread or two, or in a batch, an answer is the same."""
    calls: list[Call] = []
    lanes = Lanes(Limits(lanes=4), calls.append)

    async def play() -> list[Any]:
        async def one(number: int) -> Any:
            name, prepared, rows, seed, priority = requests[number]

            def function(work: Work) -> Any:
                return ask(MODELS[mode], name, prepared, rows, seed, work)

            task = asyncio.create_task(lanes.run(function, MODELS[mode][name], rows, priority=priority))
            if number in leaving:
                await asyncio.sleep(0.001 * (number % 3))
                task.cancel()
            return await task

        return await asyncio.gather(*map(one, range(len(requests))), return_exceptions=True)

    results = asyncio.run(play())
    lanes.close()
    for number, ((name, prepared, rows, seed, _), result) in enumerate(zip(requests, results, strict=True)):
        if number in leaving and isinstance(result, (asyncio.CancelledError, AbandonedError)):
            continue
        expect_same(result, ask(ALONE, name, prepared, rows, seed, None), 0 if mode == "lanes" else 1e-5)
