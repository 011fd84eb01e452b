"""Counts by reason, with examples."""

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_EXAMPLES = 20
_SHOWN = 3
_LONGEST = 60


@dataclass
class Tally:
    """Counts by reason, with the first names of each reason as examples."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Count `count` items under a reason; `name` tells a person where to look."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(name)

    def update(self, other: "Tally") -> None:
        """Add the counts and examples of another tally."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            self.examples[reason] = (self.examples.get(reason, []) + other.examples[reason])[:MAX_EXAMPLES]

    @property
    def total(self) -> int:
        """Items of all reasons."""
        return sum(self.counts.values())

    def lines(self) -> Iterator[str]:
        """One line a reason, with the first names, long ones without their middle."""
        for reason, count in sorted(self.counts.items()):
            names = [_short(name) for name in self.examples[reason][:_SHOWN]]
            yield f"{count} {reason} ({', '.join(names)}{', ...' if count > _SHOWN else ''})"

    def __str__(self) -> str:
        return "; ".join(self.lines())


def _short(name: str) -> str:
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 3]}...{name[-half:]}"
