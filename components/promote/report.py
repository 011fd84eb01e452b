"""The page of a promotion, rendered from report.html.jinja."""

from components.promote.outcome import Outcome
from components.shared.metrics.paired import fewest_groups
from components.shared.report.rendering import render


def render_report(outcome: Outcome, name: str, version: str, alias: str, confidence: float) -> str:
    """Return the page: the decision, both scores, how sure the difference is, and what moved."""
    moved = [line for one in outcome.moved if (line := one.line(alias))]
    return render(
        "promote/report.html.jinja",
        outcome=outcome,
        name=name,
        version=version,
        alias=alias,
        confidence=confidence,
        needed=fewest_groups(confidence),
        moved=moved,
    )
