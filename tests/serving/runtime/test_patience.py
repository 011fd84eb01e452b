"""Waiting for a server: bounded, and told to the user."""

import logging
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.runtime.errors import InputError, NoAnswerError
from serving.runtime.patience import insist, patience, say_when_slow


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def refused() -> str:
    raise ConnectionRefusedError("nobody is there")


def ask(call: object) -> str:
    assert callable(call)
    return insist(call, "MLflow at http://x", "check X", lambda error: isinstance(error, OSError))


def test_a_server_that_never_answers_ends_in_one_error_after_one_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "1")
    with at_most(1.5), pytest.raises(NoAnswerError, match=r"x did not answer within 1 s \(nobody is there\); check X"):
        ask(refused)
    assert [record.message for record in caplog.records] == ["MLflow at http://x does not answer, waiting up to 1 s"]


def test_a_server_that_comes_up_is_waited_for_and_others_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "10")
    answers = [refused, refused, lambda: "here"]
    assert ask(lambda: answers.pop(0)()) == "here"

    def wrong() -> str:
        raise ValueError("wrong")

    with at_most(0.5), pytest.raises(ValueError, match="wrong"):
        ask(wrong)


def test_what_is_quick_or_makes_progress_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "1")
    with say_when_slow("slow") as wait:
        for _ in range(4):
            time.sleep(0.3)
            wait.progress()
    assert not caplog.records


def wait_in_a_fork() -> None:
    said = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign, assignment]
    logging.getLogger("serving.runtime.patience").addHandler(handler)
    with say_when_slow("slow"):
        time.sleep(1.2)
    raise SystemExit(len(said))


def test_a_fork_says_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that load pictures are forks, which have no threads of their parent."""
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "1")
    with say_when_slow("starts the thread"):
        pass
    process = multiprocessing.get_context("fork").Process(target=wait_in_a_fork)
    process.start()
    process.join(10)
    assert process.exitcode == 1


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf", "1e30"])
def test_an_impossible_patience_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", text)
    with pytest.raises(InputError, match=r"FACET_PATIENCE_SECONDS=.*expected a positive number of seconds"):
        patience()


def test_patience_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "")
    assert patience() == 120
