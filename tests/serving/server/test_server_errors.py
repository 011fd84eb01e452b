"""The one table of errors, which HTTP and gRPC share."""

import pytest

from serving.runtime.errors import ImageError, InputError, NoAnswerError, NotFoundError, NotReadyError, StorageError
from serving.server.errors import headers_of, status_of, text_of
from serving.server.lanes import BusyError, DeadlineError

CASES: list[tuple[Exception, int, str]] = [
    (InputError("wrong"), 400, "INVALID_ARGUMENT"),
    (ImageError("truncated", "cut short"), 400, "INVALID_ARGUMENT"),
    (ImageError("too_large", "too many pixels"), 413, "INVALID_ARGUMENT"),
    (NotFoundError("no such model"), 404, "NOT_FOUND"),
    (NotReadyError("loading"), 503, "UNAVAILABLE"),
    (BusyError("busy"), 503, "UNAVAILABLE"),
    (DeadlineError("late"), 503, "DEADLINE_EXCEEDED"),
    (StorageError("no bucket"), 503, "UNAVAILABLE"),
    (NoAnswerError("silence"), 503, "UNAVAILABLE"),
    (ZeroDivisionError("secret"), 500, "INTERNAL"),
    (OSError("secret"), 500, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "http", "grpc"), CASES)
def test_each_kind_of_error_has_its_status(error: Exception, http: int, grpc: str) -> None:
    assert (status_of(error).http, status_of(error).grpc) == (http, grpc)
    assert ("Retry-After" in headers_of(error)) == (grpc == "UNAVAILABLE")
    assert (text_of(error) == str(error)) == (http != 500) and "secret" not in text_of(error)


def test_a_busy_server_says_when_to_come_again() -> None:
    assert headers_of(BusyError("busy", 7)) == {"Retry-After": "7"}
