"""What became of a candidate."""

from dataclasses import dataclass

from components.promote.aliases import Moved
from components.promote.compare import Compared


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        promoted: whether its version has the alias now.
        reason: a sentence.
        champion: the version that it was compared with, or that had the alias; "" for none.
        compared: the comparison; None where there was nothing to compare, or it was not possible.
        detector: that of the detector that was trained with the model; None likewise.
        notes: what to know about the comparisons, in sentences.
        moved: the models whose aliases were looked at.
    """

    promoted: bool
    reason: str
    champion: str = ""
    compared: Compared | None = None
    detector: Compared | None = None
    notes: tuple[str, ...] = ()
    moved: tuple[Moved, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the numbers by name."""
        values = {"promoted": float(self.promoted)}
        values |= _numbers(self.compared) if self.compared is not None else {}
        detector = _numbers(self.detector) if self.detector is not None else {}
        return values | {f"detector_{name}": value for name, value in detector.items()}


def _numbers(one: Compared) -> dict[str, float]:
    paired, both = one.paired, one.mcnemar
    return {
        one.metric: paired.first,
        f"champion_{one.metric}": paired.second,
        "difference": paired.first - paired.second,
        "difference_low": paired.low,
        "difference_high": paired.high,
        "share_better": paired.better,
        "faces": float(one.faces),
        f"{one.unit}s": float(paired.groups),
        "only_candidate_right": float(both.only_first),
        "only_champion_right": float(both.only_second),
        "mcnemar_p": both.p_value,
    }
