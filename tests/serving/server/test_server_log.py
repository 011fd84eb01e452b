"""One line per kind and minute."""

import logging
from collections.abc import Callable

import pytest

from serving.server import log
from serving.server.log import OncePerInterval


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Logs at a given second; returns all lines so far."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(OncePerInterval())
    logger = logging.Logger("test")
    logger.addHandler(handler)

    def at(
        second: float, message: str, *args: object, level: int = logging.WARNING, raised: type | None = None
    ) -> list:
        monkeypatch.setattr(log.time, "monotonic", lambda: second)
        try:
            if raised:
                raise raised
        except Exception:
            logger.log(level, message, *args, exc_info=True)
        else:
            logger.log(level, message, *args)
        return lines

    return at


def test_a_flood_of_one_kind_is_one_line_a_minute_that_counts_the_others(write: Callable[..., list[str]]) -> None:
    for second in range(59):
        write(second, "no room for %d", second)
    write(5, "another kind")
    write(65, "no room for %d", 65)
    assert write(66, "no room for %d", 66) == [
        "no room for 0",
        "another kind",
        "no room for 65 (and 58 more like this)",
    ]


def test_information_is_written_always_and_exceptions_are_told_apart(write: Callable[..., list[str]]) -> None:
    for _ in range(2):
        write(0, "an answer", level=logging.INFO)
        write(0, "failed", raised=KeyError)
        write(0, "failed", raised=OSError)
    assert write(0, "end") == ["an answer", "failed", "failed", "an answer", "end"]
