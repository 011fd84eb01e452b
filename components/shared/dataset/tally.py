"""Counts by reason, with examples."""

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_EXAMPLES = 20
_SHOWN = 3
_LONGEST = 60


@dataclass
class Tally:
    """Counts by reason, with the first names of each reason as examples; all of them when `max_examples` is None."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    max_examples: int | None = MAX_EXAMPLES

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Count `count` items under a reason; `name` is one of them."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        examples = self.examples.setdefault(reason, [])
        if self.max_examples is None or len(examples) < self.max_examples:
            examples.append(name)

    def update(self, other: "Tally") -> None:
        """Add the counts and examples of another tally."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            self.examples[reason] = (self.examples.get(reason, []) + other.examples[reason])[: self.max_examples]

    @property
    def total(self) -> int:
        """The sum over all reasons."""
        return sum(self.counts.values())

    def lines(self) -> Iterator[str]:
        """Yield one line per reason with its first names; long ones are shortened in the middle."""
        for reason, count in sorted(self.counts.items()):
            names = [_short(name) for name in self.examples[reason][:_SHOWN]]
            yield f"{count} {reason} ({', '.join(names)}{', ...' if count > _SHOWN else ''})"

    def __str__(self) -> str:
        return "; ".join(self.lines())


def _short(name: str) -> str:
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 3]}...{name[-half:]}"
