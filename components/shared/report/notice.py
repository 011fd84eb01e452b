"""The chart of the notice about masks."""

from components.shared.metrics.notice import NoticeRates
from components.shared.metrics.ranking import Curve
from components.shared.report.plots import Plot, lines

_POINTS = 200


def misses_by_false_alarms(rates: NoticeRates, curve: Curve | None) -> Plot | None:
    """Draw the miss rate by the false-alarm rate over all thresholds, with a mark at one; None without a curve.

    Args:
        rates: those at the threshold.
        curve: of the same faces, see `NoticeFaces.curve`.
    """
    if curve is None or rates.miss_rate is None or rates.false_alarm_rate is None:
        return None
    thin, name = curve.thinned(_POINTS), f"threshold {rates.threshold:g}"
    points = {name: (thin.x.tolist(), (1 - thin.y).tolist())}
    return lines("false-alarm rate", "miss rate", points, {name: (rates.false_alarm_rate, rates.miss_rate)})
