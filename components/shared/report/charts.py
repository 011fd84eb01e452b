"""Charts for reports, as HTML tables and inline SVG."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from components.shared.metrics.calibration import Bin, Calibration

_FEW_CLASSES = 8
_LEFT, _TOP, _WIDTH, _HEIGHT, _COUNTS = 44, 12, 370, 240, 48


def confusion_table(labels: Sequence[str], matrix: NDArray[np.integer]) -> str:
    """A confusion matrix (K, K) of counts; the shade is the share of the row, rows are the truth."""
    caption = "Rows are the truth, columns the prediction; the shade is the share of the row."
    return cross_table(labels, labels, matrix, caption=caption, relation="predicted as", unit="faces")


def cross_table(
    rows: Sequence[str],
    columns: Sequence[str],
    matrix: NDArray[np.integer],
    *,
    caption: str,
    relation: str,
    unit: str,
) -> str:
    """Counts (rows, columns) of pairs, shaded by their share of the row; pairs of equal names count as hits.

    All names are text; `relation` stands between two names where a cell is explained, `unit` above the totals.
    """
    few = len(columns) <= _FEW_CLASSES
    column_class = "column flat" if few and max(map(len, columns)) <= 12 else "column"
    heads = "".join(f'<th class="{column_class}" scope="col"><span>{escape(name)}</span></th>' for name in columns)
    lines = []
    for row, name in enumerate(rows):
        total = int(matrix[row].sum())
        cells = "".join(
            _cell(name, relation, column, int(matrix[row, at]), total, few) for at, column in enumerate(columns)
        )
        lines.append(f'<tr><th class="row" scope="row">{escape(name)}</th>{cells}<td class="total">{total}</td></tr>')
    size = "wide" if few else "narrow"
    return (
        f'<p class="soft">{escape(caption)}</p>\n'
        f'<table class="confusion"><thead><tr><th></th>{heads}<th class="column flat soft"><span>{escape(unit)}</span>'
        f'</th></tr></thead>\n<tbody class="{size}">' + "\n".join(lines) + "</tbody></table>"
    )


def _cell(row: str, relation: str, column: str, count: int, total: int, few: bool) -> str:
    share = count / total if total else 0.0
    title = escape(f"{row} {relation} {column}: {count} of {total} ({share:.1%})")
    if not count:
        return f'<td class="none" title="{title}">{"0" if few else "·"}</td>'
    kind = ("hit" if row == column else "miss") + (" full" if share > 0.55 else "")
    percent = f"<small>{share:.1%}</small>" if few else ""
    return f'<td class="{kind}" style="--share:{share:.3f}" title="{title}">{count}{percent}</td>'


def reliability_chart(result: Calibration) -> str:
    """Accuracy per confidence bin against the diagonal, with the number of faces per bin below."""
    largest = max(b.count for b in result.bins)
    bottom = _TOP + _HEIGHT
    counts_bottom = bottom + 34 + _COUNTS
    parts = [_grid(bottom)]
    for b in result.bins:
        parts.append(_bin(b, bottom, counts_bottom, largest))
    parts.append(f'<line class="ideal" x1="{_LEFT}" y1="{bottom}" x2="{_LEFT + _WIDTH}" y2="{_TOP}"/>')
    middle = _LEFT + _WIDTH / 2
    parts.append(
        f'<text x="{middle}" y="{counts_bottom + 18}" text-anchor="middle">confidence (faces per bin below)</text>'
    )
    parts.append(
        f'<text transform="translate(12 {_TOP + _HEIGHT / 2}) rotate(-90)" text-anchor="middle">accuracy</text>'
    )
    box = f"0 0 {_LEFT + _WIDTH + 12} {counts_bottom + 26}"
    return f'<svg viewBox="{box}" role="img" aria-label="reliability chart">{"".join(parts)}</svg>'


def _grid(bottom: int) -> str:
    lines = []
    for tick in range(0, 11, 2):
        y = bottom - tick / 10 * _HEIGHT
        x = _LEFT + tick / 10 * _WIDTH
        lines.append(f'<line class="axis" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick / 10:g}</text>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick / 10:g}</text>')
    return "".join(lines)


def _bin(b: Bin, bottom: int, counts_bottom: int, largest: int) -> str:
    if b.confidence is None or b.accuracy is None:
        return ""
    x, width = _LEFT + b.low * _WIDTH + 1.5, (b.high - b.low) * _WIDTH - 3
    top, center = bottom - b.accuracy * _HEIGHT, _LEFT + b.confidence * _WIDTH
    ideal = bottom - b.confidence * _HEIGHT
    count = max(1.0, b.count / largest * _COUNTS)
    counts_top = counts_bottom - count
    title = escape(f"{b.count} faces, mean confidence {b.confidence:.3f}, accuracy {b.accuracy:.3f}")
    return (
        f"<g><title>{title}</title>"
        f'<rect class="bin" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"/>'
        f'<line class="gap" x1="{center:.1f}" y1="{top:.1f}" x2="{center:.1f}" y2="{ideal:.1f}"/>'
        f'<circle class="mark" cx="{center:.1f}" cy="{top:.1f}" r="3.5"/>'
        f'<rect class="count" x="{x:.1f}" y="{counts_top:.1f}" width="{width:.1f}" height="{count:.1f}"/></g>'
    )
