"""The page of a calibration, rendered from the template beside this file."""

import math

import numpy as np
from scipy.stats import binomtest

from components.calibrate.findings import Findings
from components.calibrate.notify import Confidences, Rates, rates_at
from components.shared.report.plots import Axis, Plot, reliability_diagram
from components.shared.report.rendering import render

_POINTS = 400
_WIDEST = 0.2


def render_report(model: str, before: str, after: str, findings: Findings) -> str:
    """Return the page; equal arguments give equal text.

    Args:
        model: its name.
        before: sha256 of the file.
        after: sha256 of the calibrated file.
        findings: what the faces tell.
    """
    notify = findings.notify
    known = notify is not None and notify.rates.worn > 0 and notify.rates.others > 0
    return render(
        "calibrate/report.html.jinja",
        model=model,
        before=before,
        after=after,
        findings=findings,
        diagrams={
            head.name: (reliability_diagram(head.before.calibration), reliability_diagram(head.after.calibration))
            for head in findings.heads
        },
        by_threshold=rates_by_threshold(notify.faces, notify.rates) if notify and known else None,
        trade_off=misses_by_false_alarms(notify.faces, notify.rates) if notify and known else None,
        interval=interval,
    )


def interval(part: int, whole: int) -> str:
    """Return between what shares the true one lies with 95 % confidence (Wilson), as text; "" of nothing."""
    if not whole:
        return ""
    found = binomtest(part, whole).proportion_ci(method="wilson")
    return f"{found.low:.1%} to {found.high:.1%}"


def rates_by_threshold(faces: Confidences, chosen: Rates) -> Plot:
    """Draw the share of the worn masks that are noticed and of the others that are missed, by threshold."""
    plot = Plot("false alarms and misses by threshold", Axis("threshold", 0, 1), Axis("share of faces", 0, 1))
    thresholds = np.linspace(0, 1, _POINTS + 1).tolist()
    rates = [rates_at(faces, threshold) for threshold in thresholds]
    lines = {"false alarms": [one.false_alarm_rate for one in rates], "misses": [one.miss_rate for one in rates]}
    for number, (name, shares) in enumerate(lines.items()):
        points = zip(thresholds, shares, strict=True)
        line = " ".join(f"{plot.x(across)},{plot.y(up)}" for across, up in points)
        plot.add("polyline", f"series series-{number}", name, points=line)
    x = plot.x(chosen.threshold)
    plot.add("line", "ideal", f"threshold {chosen.threshold:g}", x1=x, y1=plot.BOTTOM, x2=x, y2=plot.TOP)
    for number, share in enumerate((chosen.false_alarm_rate, chosen.miss_rate)):
        title = f"threshold {chosen.threshold:g}: {share:.1%} {list(lines)[number]}"
        plot.add("circle", f"series-{number}", title, cx=x, cy=plot.y(share), r=4)
    return plot


def misses_by_false_alarms(faces: Confidences, chosen: Rates) -> Plot:
    """Draw what misses each rate of false alarms costs, up to the rates that a door can bear; the chosen one marked."""
    widest = min(1.0, max(_WIDEST, 2 * chosen.false_alarm_rate))
    plot = Plot("misses by false alarms", Axis("false-alarm rate", 0, widest), Axis("miss rate", 0, 1))
    limits, others = np.sort(faces.worn)[::-1], np.sort(faces.others)
    alarms = np.unique(np.linspace(0, math.floor(widest * len(limits)), _POINTS).astype(int))
    alarms = alarms[alarms < len(limits)]
    misses = np.searchsorted(others, limits[alarms], side="right") / len(others)
    corners: list[str] = []
    for rate, missed in zip((alarms / len(limits)).tolist(), misses.tolist(), strict=True):
        x, y = plot.x(rate), plot.y(missed)
        corners += [f"{x},{corners[-1].partition(',')[2]}"] if corners else []
        corners.append(f"{x},{y}")
    plot.add("polyline", "series series-0", "misses by false alarms", points=" ".join(dict.fromkeys(corners)))
    title = f"threshold {chosen.threshold:g}: {chosen.false_alarm_rate:.1%} false alarms, {chosen.miss_rate:.1%} misses"
    plot.add("circle", "mark", title, cx=plot.x(chosen.false_alarm_rate), cy=plot.y(chosen.miss_rate), r=4)
    return plot
