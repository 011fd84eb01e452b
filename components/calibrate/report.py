"""The page of a calibration, rendered from the template beside this file."""

import numpy as np

from components.calibrate.findings import Findings
from components.shared.metrics.notice import NoticeFaces, NoticeRates
from components.shared.report.notice import misses_by_false_alarms
from components.shared.report.plots import Plot, lines, reliability_diagram
from components.shared.report.rendering import render

_POINTS = 200


def render_report(model: str, before: str, after: str, findings: Findings) -> str:
    """Return the page; equal arguments give equal text.

    Args:
        model: its name.
        before: sha256 of the file.
        after: sha256 of the calibrated file.
        findings: what the faces tell.
    """
    notify = findings.notify
    trade_off = misses_by_false_alarms(notify.rates, notify.faces.curve()) if notify else None
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
        by_threshold=_by_threshold(notify.faces, notify.rates) if notify and trade_off else None,
        trade_off=trade_off,
    )


def _by_threshold(faces: NoticeFaces, chosen: NoticeRates) -> Plot:
    """Draw the share of the worn masks that are noticed and of the others that are missed, by threshold."""
    thresholds = np.linspace(0, 1, _POINTS + 1)

    def below(confidences: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.sort(confidences), thresholds) / len(confidences)

    shares = {
        "false alarms": 1 - below(faces.confidences[~faces.improper]),
        "misses": below(faces.confidences[faces.improper]),
    }
    rates = {"false alarms": chosen.false_alarm_rate or 0.0, "misses": chosen.miss_rate or 0.0}
    return lines(
        "threshold",
        "share of faces",
        {name: (thresholds.tolist(), share.tolist()) for name, share in shares.items()},
        {name: (chosen.threshold, rate) for name, rate in rates.items()},
    )
