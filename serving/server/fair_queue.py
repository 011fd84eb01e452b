"""The queue in front of the lanes: fair between models, by priority and then first come, first served within one."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, Protocol, TypeVar

PRIORITIES = 9
"""Priorities are 1 to 9, the lower ones first; larger ones count as 9."""

DEFAULT_PRIORITY = 5
"""Of a request that names none, or 0."""

# An estimate is the median of so many calls, so that a few slow pictures do not move it. It is one from as many on.
_CALLS = 9
_KNOWN = 5


class Waiting(Protocol):
    """What waits in a queue.

    Attributes:
        model: that it waits for.
        rows: images that the model will see.
        priority: 1 to PRIORITIES.
        seconds: that it will probably take in a lane; set by the queue.
    """

    model: str
    rows: int
    priority: int
    seconds: float


W = TypeVar("W", bound=Waiting)


@dataclass(slots=True)
class _Line(Generic[W]):
    """What waits for one model.

    `used` are the lanes' seconds that it had, from the start of the queue's clock; `last` those of its last calls, for
    each image.
    """

    levels: list[OrderedDict[int, W]] = field(default_factory=lambda: [OrderedDict() for _ in range(PRIORITIES)])
    rows: int = 0
    seconds: float = 0.0
    used: float = 0.0
    seconds_per_row: float = 0.0
    last: deque[float] = field(default_factory=lambda: deque(maxlen=_CALLS))

    @property
    def waits(self) -> bool:
        return self.rows > 0


class FairQueue(Generic[W]):
    """Each model that has requests waiting gets an equal share of the lanes' time, however long its calls take.

    What a call takes is the median of the last calls of its model. Every operation takes the same time however many
    requests wait; choosing the next one goes through the models that have any. Not for several threads at once.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line[W]] = {}
        self._active: dict[str, _Line[W]] = {}
        self._clock = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def rows(self, name: str) -> int:
        """Return the images that wait for a model."""
        line = self._active.get(name)
        return line.rows if line else 0

    def __iter__(self) -> Iterator[str]:
        """Go through the models for which any request waits."""
        return iter(self._active)

    def items(self) -> Iterator[W]:
        """Go through all requests that wait."""
        for line in self._active.values():
            for level in line.levels:
                yield from level.values()

    def expected_s(self, name: str) -> float:
        """Return the seconds of lanes that pass before a new request of a model has its turn.

        The other models get no more of them than this one.
        """
        own = self._active[name].seconds if name in self._active else 0.0
        return sum(min(line.seconds, own) for line in self._active.values())

    def knows(self, name: str) -> bool:
        """Tell whether enough calls of a model have ended for an estimate of their time."""
        line = self._lines.get(name)
        return line is not None and len(line.last) >= _KNOWN

    def push(self, item: W) -> None:
        """Let a request wait."""
        line = self._lines.setdefault(item.model, _Line())
        if not line.waits:
            # Time in which a model asked for nothing is not saved up.
            line.used = max(line.used, self._clock)
            self._active[item.model] = line
        item.seconds = item.rows * line.seconds_per_row
        line.levels[item.priority - 1][id(item)] = item
        line.rows += item.rows
        line.seconds += item.seconds
        self._count += 1

    def pop(self) -> W | None:
        """Take the request whose turn it is; None when none waits."""
        if not self._active:
            return None
        line = min(self._active.values(), key=lambda one: one.used)
        self._clock = line.used
        item = next(iter(next(filter(None, line.levels)).values()))
        self.remove(item)
        line.used += item.seconds
        return item

    def remove(self, item: W) -> bool:
        """Take a request out; False when it does not wait."""
        line = self._lines.get(item.model)
        if line is None or line.levels[item.priority - 1].pop(id(item), None) is None:
            return False
        line.rows -= item.rows
        line.seconds -= item.seconds
        self._count -= 1
        if not line.waits:
            line.seconds = 0.0
            del self._active[item.model]
        return True

    def took(self, item: W, seconds: float) -> None:
        """Learn how many seconds of a lane a request took that was popped."""
        line = self._lines[item.model]
        line.used += seconds - item.seconds
        line.last.append(seconds / item.rows)
        line.seconds_per_row = median(line.last)

    def skip(self, item: W) -> None:
        """Charge nothing for a request that was popped and takes no lane."""
        self._lines[item.model].used -= item.seconds
