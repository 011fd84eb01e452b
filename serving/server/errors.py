"""What an error is called by each protocol: the one table of kinds of errors and their status."""

from typing import NamedTuple

from serving.runtime.errors import ImageError, InputError, NotFoundError, NotReadyError, StorageError
from serving.server.lanes import BusyError, DeadlineError


class Status(NamedTuple):
    """An HTTP status and the name of a gRPC status code; `retry` says that the same request may do later."""

    http: int
    grpc: str
    retry: bool = False


STATUS: dict[type[Exception], Status] = {
    InputError: Status(400, "INVALID_ARGUMENT"),
    NotFoundError: Status(404, "NOT_FOUND"),
    NotReadyError: Status(503, "UNAVAILABLE", retry=True),
    BusyError: Status(503, "UNAVAILABLE", retry=True),
    DeadlineError: Status(503, "DEADLINE_EXCEEDED"),
    StorageError: Status(503, "UNAVAILABLE", retry=True),
    Exception: Status(500, "INTERNAL"),
}
"""Kind of error -> its status; an error has that of its nearest base class."""

_REASONS: dict[type[Exception], str] = {
    InputError: "invalid",
    NotFoundError: "not_found",
    NotReadyError: "not_ready",
    BusyError: "queue_full",
    DeadlineError: "deadline",
    StorageError: "storage",
    Exception: "internal",
}

_TOO_LARGE = Status(413, "INVALID_ARGUMENT")


def status_of(error: Exception) -> Status:
    """Return the status of an error."""
    if isinstance(error, ImageError) and error.reason == "too_large":
        return _TOO_LARGE
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def reason_of(error: Exception) -> str:
    """Return in one word why a request was refused, for counting."""
    if isinstance(error, ImageError):
        return error.reason
    return next(_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS)


def text_of(error: Exception) -> str:
    """Return what a client is told: the error's message, and of a fault of the server only that there was one."""
    return "internal error; the server's log has the cause" if status_of(error).http == 500 else str(error)


def headers_of(error: Exception) -> dict[str, str]:
    """Return the HTTP headers that go with an error: after how many seconds to try again."""
    seconds = error.retry_after_s if isinstance(error, BusyError | NotReadyError) else 1
    return {"Retry-After": str(seconds)} if status_of(error).retry else {}
