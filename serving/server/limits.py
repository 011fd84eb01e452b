"""How much a server takes on: the sizes, counts and times that bound every request and all of them together."""

import resource
from dataclasses import dataclass

MIB = 2**20

# No photo needs more, however much memory there is.
_MOST_DECODE_MEMORY = 1024 * MIB
MAX_CONNECTIONS = 1000
# Open files that are no connections: models, libraries, the registry, logs.
_OTHER_FILES = 48


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds requests; `for_machine` makes those that fit a memory limit.

    Attributes:
        lanes: requests that decode and compute at the same time.
        decode_memory: bytes that a lane may take to decode a picture or to read numbers.
        body_memory: bytes of all bodies that are being received, wait or are computed.
        max_body: bytes of one body.
        max_waiting: images that wait for a lane, of each model; more are refused at once.
        wait_s: how long a request waits for a lane.
        request_s: how long a request may take from its headers to its answer.
        connections: how many are open at the same time.
    """

    lanes: int = 1
    decode_memory: int = 192 * MIB
    body_memory: int = 64 * MIB
    max_body: int = 16 * MIB
    max_waiting: int = 256
    wait_s: float = 5.0
    request_s: float = 30.0
    connections: int = MAX_CONNECTIONS

    @classmethod
    def for_machine(
        cls, memory: int, lanes: int, *, max_body: int = 16 * MIB, max_waiting: int = 256, request_s: float = 30.0
    ) -> "Limits":
        """Return limits for a memory limit in bytes.

        One half is for the interpreter and the models, 3/8 for the lanes, 1/8 for bodies, of which copies are made. A
        body may be as large as all of them together, and there are no more connections than files may be open.
        """
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        connections = MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files - _OTHER_FILES)
        return cls(
            lanes=lanes,
            decode_memory=min(_MOST_DECODE_MEMORY, memory * 3 // 8 // lanes),
            body_memory=max(max_body, min(_MOST_DECODE_MEMORY, memory // 16)),
            max_body=max_body,
            max_waiting=max_waiting,
            request_s=request_s,
            connections=max(8, connections),
        )
