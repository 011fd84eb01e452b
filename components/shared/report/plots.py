"""Distributions for reports, as inline SVG."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

_LEFT, _TOP, _WIDTH, _HEIGHT = 52, 12, 362, 200
_TICKS = 7
_BINS = 24
_CELLS = 20

Values = NDArray[np.floating] | NDArray[np.integer]


@dataclass(frozen=True)
class Axis:
    """What an axis shows: its label and the numbers at its ends.

    `log` spaces equal factors equally; on a `whole` axis only whole numbers are written.
    """

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def place(self, value: float) -> float:
        """Return where a number lies, 0 at the low end and 1 at the high end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def edges(self, bins: int) -> NDArray[np.float64]:
        """Return bins + 1 edges that look equally wide."""
        if self.log:
            return np.geomspace(self.low, self.high, bins + 1)
        return np.linspace(self.low, self.high, bins + 1)

    def ticks(self) -> list[float]:
        """Return at most seven round numbers within the ends."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1,)):
                ticks = [d * 10.0**decade for decade in decades for d in digits]
                ticks = [tick for tick in ticks if self.low <= tick <= self.high]
                if len(ticks) <= _TICKS:
                    break
            if len(ticks) >= 2:
                return ticks[:: math.ceil(len(ticks) / _TICKS)]
        span = (self.high - self.low) / (_TICKS - 1)
        size = 10.0 ** math.floor(math.log10(span))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= span)
        first = math.ceil(self.low / step - 1e-9)
        ticks = [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [tick for tick in ticks if not self.whole or abs(tick - round(tick)) < 1e-6]


def spanning(label: str, values: Values, *, log: bool = False) -> Axis:
    """Return an axis from the smallest to the largest value; values of a `log` axis must be positive."""
    low, high = float(values.min()), float(values.max())
    if log and high / low < 1.2:
        middle = math.sqrt(low * high)
        low, high = middle / 1.5, middle * 1.5
    elif high <= low:
        low, high = low - 0.5, high + 0.5
    return Axis(label, low, high, log)


def histogram(values: Values, label: str, unit: str, *, whole: bool = False) -> str:
    """How many of the values fall into each bin.

    Args:
        values: (N,), at least one.
        label: text below the axis.
        unit: what is counted, in the plural.
        whole: the values are whole numbers, so that bins hold whole numbers of them.
    """
    if whole:
        low, high = int(values.min()), int(values.max())
        width = math.ceil((high - low + 1) / _BINS)
        edges = np.arange(low, high + width + 1, width) - 0.5
        axis = Axis(label, float(edges[0]), float(edges[-1]), whole=True)
    else:
        axis = spanning(label, values)
        edges = axis.edges(_BINS)
    counts, _ = np.histogram(values, edges)
    bottom, largest = _TOP + _HEIGHT, int(counts.max())
    heights = Axis(unit, 0, largest, whole=True)
    parts = [*_frame(axis, heights)]
    for low_edge, high_edge, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True):
        if count:
            x, end = _x(axis, low_edge), _x(axis, high_edge)
            height = max(1.0, count / largest * _HEIGHT)
            between = _range(low_edge, high_edge, whole)
            parts.append(
                f'<rect class="bin" x="{x + 0.5:.1f}" y="{bottom - height:.1f}" width="{max(1.0, end - x - 1):.1f}" '
                f'height="{height:.1f}"><title>{escape(f"{between}: {count:,} {unit}")}</title></rect>'
            )
    return _svg(parts, f"{unit} by {label}")


def heat_map(x: Values, y: Values, across: Axis, down: Axis, unit: str, *, from_top: bool = False) -> str:
    """How many points (x, y) fall into each cell; the darker, the more (by the square root).

    Args:
        x: (N,), at least one.
        y: (N,)
        across: the axis of x.
        down: the axis of y; it begins at the bottom, or `from_top` as the rows of a picture do.
        unit: what is counted, in the plural.
        from_top: see `down`.
    """
    x_edges, y_edges = across.edges(_CELLS), down.edges(_CELLS)
    counts, _, _ = np.histogram2d(
        np.clip(x, across.low, across.high), np.clip(y, down.low, down.high), bins=(x_edges, y_edges)
    )
    largest = counts.max()
    parts = [*_frame(across, down, from_top)]
    width, height = _WIDTH / _CELLS, _HEIGHT / _CELLS
    for column, row in np.argwhere(counts > 0).tolist():
        count = int(counts[column, row])
        top = _TOP + (row if from_top else _CELLS - 1 - row) * height
        parts.append(
            f'<rect class="cell" x="{_LEFT + column * width:.1f}" y="{top:.1f}" width="{width - 0.6:.1f}" '
            f'height="{height - 0.6:.1f}" fill-opacity="{0.12 + 0.88 * math.sqrt(count / largest):.2f}">'
            f"<title>{escape(f'{count:,} {unit}')}</title></rect>"
        )
    return _svg(parts, f"{unit} by {across.label} and {down.label}")


def climb(values: Sequence[float | None], names: Sequence[str], across: str, up: str) -> str:
    """Values in the order in which they came, and how high the highest of them was by then.

    Args:
        values: at least one number; None is drawn as a cross on the axis.
        names: what each value is of.
        across: what is counted from 0 on.
        up: what the values are.
    """
    found = np.array([value for value in values if value is not None])
    margin = max(0.05 * float(found.max() - found.min()), 1e-3)
    upward = Axis(up, float(found.min()) - margin, float(found.max()) + margin)
    along = Axis(across, -0.5, len(values) - 0.5, whole=True)
    bottom = _TOP + _HEIGHT
    dots: list[str] = []
    corners: list[str] = []
    best = -math.inf
    for at, (value, name) in enumerate(zip(values, names, strict=True)):
        x = _x(along, at)
        if value is None:
            cross = f"M{x - 3:.1f} {bottom - 9}l6 6m0 -6l-6 6"
            dots.append(f'<path class="gap" d="{cross}"><title>{escape(name)}</title></path>')
            continue
        y = bottom - upward.place(value) * _HEIGHT
        if value > best:
            corners += [f"{x:.1f},{corners[-1].partition(',')[2]}"] if corners else []
            corners.append(f"{x:.1f},{y:.1f}")
            best = value
        title = escape(f"{name}: {_number(value)}")
        dots.append(f'<circle class="bin" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{title}</title></circle>')
    corners.append(f"{_LEFT + _WIDTH},{corners[-1].partition(',')[2]}")
    line = f'<polyline class="ideal" fill="none" points="{" ".join(corners)}"/>'
    return _svg([*_frame(along, upward), line, *dots], f"{up} by {across}")


def _frame(across: Axis, up: Axis, from_top: bool = False) -> Iterator[str]:
    """Draw the lines and numbers of two axes."""
    bottom = _TOP + _HEIGHT
    for tick in up.ticks():
        place = up.place(tick)
        y = _TOP + place * _HEIGHT if from_top else bottom - place * _HEIGHT
        yield f'<line class="axis" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
    for tick in across.ticks():
        x = _x(across, tick)
        yield f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(tick)}</text>'
    yield f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{_LEFT + _WIDTH}" y2="{bottom}"/>'
    middle = _LEFT + _WIDTH / 2
    yield f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{escape(across.label)}</text>'
    turn = f"translate(11 {_TOP + _HEIGHT / 2}) rotate(-90)"
    yield f'<text transform="{turn}" text-anchor="middle">{escape(up.label)}</text>'


def _svg(parts: list[str], label: str) -> str:
    box = f"0 0 {_LEFT + _WIDTH + 16} {_TOP + _HEIGHT + 42}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * _WIDTH


def _range(low: float, high: float, whole: bool) -> str:
    if not whole:
        return f"{_number(low)} to {_number(high)}"
    first, last = math.ceil(low), math.floor(high)
    return str(first) if first == last else f"{first} to {last}"


def _number(value: float) -> str:
    """Write a number briefly: 1500000 is 1.5M, 20000 is 20k; four digits stay."""
    for least, unit, letter in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:g}{letter}"
    return f"{value:.4g}"
