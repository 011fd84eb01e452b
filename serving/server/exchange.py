"""One request and its answer, whatever protocol carries it: its id, what models did for it, its line in the log."""

import logging
import random
import re
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from serving.server.answer import Seen

_access = logging.getLogger("serving.access")

_REQUEST_ID = re.compile(r"[\w.:/+=~-]{1,128}", re.ASCII)
# Version, trace, parent and flags (W3C Trace Context); zeros alone are no ids.
_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
# Of a path in the log.
_MAX_PATH = 100
# Many of these say one thing only, and warnings are written once a minute.
_OVERLOAD = {408, 503, 504}


@dataclass(frozen=True, slots=True)
class Call:
    """What became of one call of a function in a lane; times in seconds.

    Attributes:
        model: for which it was.
        version: of that model.
        rows: images that the model saw.
        queue_s: from asking for a lane to having one.
        input_s: reading and decoding.
        infer_s: in the graph.
        output_s: writing the answer.
        executions: runs of the graph.
        failed: it raised an error, or nobody waited for it any longer.
        seen: the pictures that it answered.
        ended_ns: when it ended, in nanoseconds since 1970.
        exchange: the request that it was for, where one is known.
    """

    model: str
    version: str
    rows: int
    queue_s: float
    input_s: float
    infer_s: float
    output_s: float
    executions: int
    failed: bool
    seen: Sequence[Seen] = ()
    ended_ns: int = field(default_factory=time.time_ns)
    exchange: "Exchange | None" = None


@dataclass(eq=False, slots=True)
class Exchange:
    """A request that is being answered.

    Attributes:
        id: the client's `X-Request-Id`, or the trace of its `traceparent`, or a random one.
        traceparent: the client's, where it is valid; else "".
        method: such as POST, or gRPC.
        path: without the query; of a gRPC call its name.
        endpoint: the label in the metrics.
        began: when it began, by `time.perf_counter`.
        began_ns: the same in nanoseconds since 1970.
        calls: of models that worked for it and have ended.
        reason: why it was refused, in one word; "" where it was not.
        status: of the answer, as HTTP has it; 0 while there is none.
        seconds: until the answer was sent.
    """

    id: str
    traceparent: str
    method: str
    path: str
    endpoint: str
    began: float = field(default_factory=time.perf_counter)
    began_ns: int = field(default_factory=time.time_ns)
    calls: list[Call] = field(default_factory=list)
    reason: str = ""
    status: int = 0
    seconds: float = 0.0

    def add(self, call: Call) -> None:
        """Take a call that has ended, unless the answer did not wait for it."""
        if not self.seconds:
            self.calls.append(call)


CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
"""The request that a task works for."""


def make_exchange(method: str, path: str, endpoint: str, request_id: str = "", traceparent: str = "") -> Exchange:
    """Make that of a request which begins now; what the client says about it counts where it is valid."""
    parent = _TRACE_PARENT.fullmatch(traceparent)
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = parent[1] if parent else f"{random.getrandbits(128):032x}"
    return Exchange(request_id, traceparent if parent else "", method, path[:_MAX_PATH], endpoint)


def log_exchange(exchange: Exchange) -> None:
    """Write the line of a request that has been answered."""
    level = logging.WARNING if exchange.status in _OVERLOAD else logging.INFO
    milliseconds = 1000 * exchange.seconds
    text = ("%s %s %d %.0f ms", exchange.method, exchange.path, exchange.status, milliseconds)
    _access.log(level, *text, extra={"exchange": exchange})


def facts(exchange: Exchange) -> dict[str, str | int | float]:
    """Return what the log says about a request, times in milliseconds. It names no client and holds no picture."""
    said: dict[str, str | int | float] = {
        "request_id": exchange.id,
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "ms": _ms(exchange.seconds),
    }
    if exchange.reason:
        said["reason"] = exchange.reason
    if exchange.traceparent:
        said["trace_id"] = exchange.traceparent.split("-")[1]
    if exchange.calls:
        call = exchange.calls[-1]
        said |= {"model": call.model, "version": call.version, "rows": sum(one.rows for one in exchange.calls)}
        for name in ("queue", "input", "infer", "output"):
            said[f"{name}_ms"] = _ms(sum(getattr(one, f"{name}_s") for one in exchange.calls))
    return said


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
