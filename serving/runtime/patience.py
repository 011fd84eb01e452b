"""How long a server that does not answer is waited for, and the word that says so."""

import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from serving.runtime.errors import InputError, NoAnswerError

VARIABLE = "FACET_PATIENCE_SECONDS"
DEFAULT_S = 120.0
WORD_AFTER_S = 5.0
"""Seconds before the user is told that something waits; at most half of the patience."""

_LONGEST_PAUSE_S = 8.0
_LOOK_EVERY_S = 0.25

log = logging.getLogger(__name__)
T = TypeVar("T")


def patience() -> float:
    """Return for how many seconds a server that does not answer is waited for: FACET_PATIENCE_SECONDS, 120 by default.

    Raises:
        InputError: the variable is not a number of seconds that can be waited for.
    """
    text = os.environ.get(VARIABLE) or str(DEFAULT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise InputError(f"{VARIABLE}={text}: expected a positive number of seconds, such as {DEFAULT_S:g}")
    return seconds


@dataclass(slots=True)
class Wait:
    """Something that may take long; `progress` tells that it has not stopped."""

    message: str
    limit: float
    since: float = field(default_factory=time.monotonic)
    said: bool = False

    def progress(self) -> None:
        """Begin to count anew."""
        self.since = time.monotonic()


_waits: dict[int, Wait] = {}
_numbers = itertools.count()
_watching_process = 0
_lock = threading.Lock()


@contextmanager
def say_when_slow(message: str) -> Iterator[Wait]:
    """Log `message` as a warning, once, when the block takes longer than a few seconds."""
    number, wait = next(_numbers), Wait(message, min(WORD_AFTER_S, patience() / 2))
    _waits[number] = wait
    _start_to_watch()
    try:
        yield wait
    finally:
        _waits.pop(number, None)


def _start_to_watch() -> None:
    """Start the one thread that looks at all that waits; a fork has none."""
    global _watching_process
    if _watching_process == os.getpid():
        return
    with _lock:
        if _watching_process != os.getpid():
            _watching_process = os.getpid()
            threading.Thread(target=_watch, name="patience", daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(_LOOK_EVERY_S)
        for wait in list(_waits.values()):
            if not wait.said and time.monotonic() - wait.since > wait.limit:
                wait.said = True
                log.warning("%s", wait.message)


def insist(
    call: Callable[[], T], server: str, hint: str, unanswered: Callable[[Exception], bool], *, word: str = ""
) -> T:
    """Return what `call` returns, calling it again while no server answers and patience lasts.

    Args:
        call: may be called several times.
        server: the server and its address, for messages.
        hint: what the user should check.
        unanswered: whether an error means that nobody has answered; any other is raised at once.
        word: what to say when it takes long, by default that the server does not answer.

    Raises:
        NoAnswerError: patience has ended.
    """
    seconds, pause = patience(), 0.1
    deadline = time.monotonic() + seconds
    with say_when_slow(word or f"{server} does not answer, waiting up to {seconds:g} s"):
        while True:
            try:
                return call()
            except Exception as error:
                if not unanswered(error):
                    raise
                left = deadline - time.monotonic()
                if left <= 0:
                    reason = first_cause(error)
                    raise NoAnswerError(f"{server} did not answer within {seconds:g} s ({reason}); {hint}") from error
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def first_cause(error: BaseException) -> str:
    """Return in one line what libraries have wrapped: the operating system's words, without addresses."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return " ".join(str(error).split()) or type(error).__name__
