"""What one request may take, and whether its result is still wanted."""

from dataclasses import dataclass


class AbandonedError(Exception):
    """Nobody waits for this result: the client has left, or its time is over."""


@dataclass(eq=False, slots=True)
class Work:
    """The bounds of one request's work; threads that compute for it look here.

    Attributes:
        max_memory: bytes that decoding one picture may take; no limit by default.
        abandoned: nobody waits for the result any longer.
    """

    max_memory: int | None = None
    abandoned: bool = False

    def check(self) -> None:
        """Raise AbandonedError when nobody waits any longer; to be called wherever work can be left undone."""
        if self.abandoned:
            raise AbandonedError
