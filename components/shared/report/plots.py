"""Charts for reports, drawn as inline SVG by the macro `plot`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from components.shared.metrics.classification import Calibration

_TICKS = 7
_BINS = 24
_CELLS = 20
_COUNTS_HEIGHT = 48

SERIES = 7
"""Colors of lines."""

Values = NDArray[np.floating] | NDArray[np.integer]


@dataclass(frozen=True)
class Axis:
    """An axis with the numbers at its ends.

    `log` makes it logarithmic; the ticks of an `integer` axis are whole numbers.
    """

    label: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def position(self, value: float) -> float:
        """Return the position of a number: 0 at the low end, 1 at the high end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def edges(self, bins: int) -> NDArray[np.float64]:
        """Return bins + 1 edges of bins that are drawn equally wide."""
        if self.log:
            return np.geomspace(self.low, self.high, bins + 1)
        return np.linspace(self.low, self.high, bins + 1)

    def ticks(self) -> list[float]:
        """Return at most seven round numbers between the ends."""
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
        return [tick for tick in ticks if not self.integer or abs(tick - round(tick)) < 1e-6]


def axis_of(label: str, values: Values, *, log: bool = False) -> Axis:
    """Return an axis from the smallest to the largest value; values of a `log` axis must be positive."""
    low, high = float(values.min()), float(values.max())
    if log and high / low < 1.2:
        middle = math.sqrt(low * high)
        low, high = middle / 1.5, middle * 1.5
    elif high <= low:
        low, high = low - 0.5, high + 0.5
    return Axis(label, low, high, log)


@dataclass(frozen=True)
class Mark:
    """An SVG element, with the text of its tooltip."""

    tag: str
    attributes: dict[str, str | float]
    title: str


@dataclass(frozen=True)
class Plot:
    """Two axes and the marks between them, in units of the SVG's view box.

    `y` begins at the bottom, or at the top as the rows of an image do (`from_top`). `below` is the height of what is
    drawn under the labels.
    """

    LEFT: ClassVar[int] = 52
    TOP: ClassVar[int] = 12
    RIGHT: ClassVar[int] = 414
    BOTTOM: ClassVar[int] = 212

    label: str
    across: Axis
    up: Axis
    from_top: bool = False
    below: int = 0
    marks: list[Mark] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Return the horizontal coordinate of a number."""
        return round(self.LEFT + self.across.position(value) * (self.RIGHT - self.LEFT), 1)

    def y(self, value: float) -> float:
        """Return the vertical coordinate of a number."""
        height = self.up.position(value) * (self.BOTTOM - self.TOP)
        return round(self.TOP + height if self.from_top else self.BOTTOM - height, 1)

    def x_ticks(self) -> list[tuple[float, str]]:
        """Return the coordinates and numbers of the horizontal axis."""
        return [(self.x(tick), _short(tick)) for tick in self.across.ticks()]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Return the coordinates and numbers of the vertical axis."""
        return [(self.y(tick), _short(tick)) for tick in self.up.ticks()]

    def add(self, tag: str, style: str, title: str = "", **attributes: str | float) -> None:
        """Draw an element with a class of report.css."""
        self.marks.append(Mark(tag, {"class": style, **attributes}, title))

    def rect(self, style: str, title: str, left: float, top: float, right: float, bottom: float) -> None:
        """Draw a rectangle, at least one unit wide and high."""
        width, height = max(1.0, round(right - left, 1)), max(1.0, round(bottom - top, 1))
        self.add("rect", style, title, x=round(left, 1), y=round(bottom - height, 1), width=width, height=height)


def histogram(values: Values, label: str, unit: str, *, integer: bool = False) -> Plot:
    """How many of the values fall into each bin.

    Args:
        values: (N,), at least one.
        label: text below the axis.
        unit: what is counted, in the plural.
        integer: the values are whole numbers, and the bins hold as many of them each.
    """
    if integer:
        low, high = int(values.min()), int(values.max())
        width = math.ceil((high - low + 1) / _BINS)
        edges = np.arange(low, high + width + 1, width) - 0.5
        axis = Axis(label, float(edges[0]), float(edges[-1]), integer=True)
    else:
        axis = axis_of(label, values)
        edges = axis.edges(_BINS)
    counts, _ = np.histogram(values, edges)
    plot = Plot(f"{unit} by {label}", axis, Axis(unit, 0, int(counts.max()), integer=True))
    for low_edge, high_edge, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True):
        if count:
            title = f"{_range(low_edge, high_edge, integer)}: {count:,} {unit}"
            plot.rect("bin", title, plot.x(low_edge) + 0.5, plot.y(count), plot.x(high_edge) - 0.5, plot.BOTTOM)
    return plot


def heat_map(points: Values, across: Axis, up: Axis, unit: str, *, from_top: bool = False) -> Plot:
    """How many points fall into each cell; the darker, the more (by the square root).

    Args:
        points: (N, 2), x and y, at least one.
        across: the axis of x.
        up: the axis of y.
        unit: what is counted, in the plural.
        from_top: y begins at the top.
    """
    x_edges, y_edges = across.edges(_CELLS), up.edges(_CELLS)
    inside = np.clip(points, (across.low, up.low), (across.high, up.high))
    counts, _, _ = np.histogram2d(inside[:, 0], inside[:, 1], (x_edges, y_edges))
    plot = Plot(f"{unit} by {across.label} and {up.label}", across, up, from_top)
    for column, row in np.argwhere(counts > 0).tolist():
        top, bottom = sorted((plot.y(y_edges[row]), plot.y(y_edges[row + 1])))
        count = int(counts[column, row])
        plot.rect("cell", f"{count:,} {unit}", plot.x(x_edges[column]), top, plot.x(x_edges[column + 1]) - 0.6, bottom)
        plot.marks[-1].attributes["fill-opacity"] = round(0.12 + 0.88 * math.sqrt(count / counts.max()), 2)
    return plot


def best_so_far(values: Sequence[float | None], names: Sequence[str], across: str, up: str) -> Plot:
    """Values in their order, and a line at the highest one until then.

    Args:
        values: at least one number; None is drawn as a cross on the axis.
        names: the name of each value.
        across: what is counted, from 0 on.
        up: what the values are.
    """
    numbers = [value for value in values if value is not None]
    margin = max(0.05 * (max(numbers) - min(numbers)), 1e-3)
    upward = Axis(up, min(numbers) - margin, max(numbers) + margin)
    plot = Plot(f"{up} by {across}", Axis(across, -0.5, len(values) - 0.5, integer=True), upward)
    corners: list[tuple[float, float]] = []
    best = -math.inf
    for index, (value, name) in enumerate(zip(values, names, strict=True)):
        x = plot.x(index)
        if value is None:
            plot.add("path", "gap", name, d=f"M{x - 3:.1f} {plot.BOTTOM - 9}l6 6m0 -6l-6 6")
            continue
        if value > best:
            corners += [(x, corners[-1][1])] if corners else []
            corners.append((x, plot.y(value)))
            best = value
        plot.add("circle", "bin", f"{name}: {_short(value)}", cx=x, cy=plot.y(value), r=3.5)
    corners.append((plot.RIGHT, corners[-1][1]))
    plot.add("polyline", "ideal", fill="none", points=" ".join(f"{x},{y}" for x, y in corners))
    return plot


def reliability_diagram(result: Calibration) -> Plot:
    """Accuracy per bin of confidence against the diagonal, with the number of faces of each bin below."""
    largest = max(b.count for b in result.bins)
    axes = Axis("confidence; number of faces below", 0, 1), Axis("accuracy", 0, 1)
    plot = Plot("reliability diagram", *axes, below=_COUNTS_HEIGHT + 6)
    counts_bottom = plot.BOTTOM + 44 + _COUNTS_HEIGHT
    for b in result.bins:
        if b.confidence is None or b.accuracy is None:
            continue
        left, right = plot.x(b.low) + 1.5, plot.x(b.high) - 1.5
        center, top, ideal = plot.x(b.confidence), plot.y(b.accuracy), plot.y(b.confidence)
        title = f"{b.count} faces, mean confidence {b.confidence:.3f}, accuracy {b.accuracy:.3f}"
        plot.rect("bin", title, left, top, right, plot.BOTTOM)
        plot.add("line", "gap", title, x1=center, y1=top, x2=center, y2=ideal)
        plot.add("circle", "mark", title, cx=center, cy=top, r=3.5)
        plot.rect("count", title, left, counts_bottom - b.count / largest * _COUNTS_HEIGHT, right, counts_bottom)
    plot.add("line", "ideal", x1=plot.LEFT, y1=plot.BOTTOM, x2=plot.RIGHT, y2=plot.TOP)
    return plot


Points = tuple[Sequence[float], Sequence[float]]
"""The x and the y of the points of a line."""


def lines(
    across: str, up: str, points: Mapping[str, Points], marks: Mapping[str, tuple[float, float]] | None = None
) -> Plot:
    """Shares by shares, a line for each name in the colors `series-0` to `series-6` of report.css and again.

    Args:
        across: what is across, 0 to 1.
        up: what is up, 0 to 1.
        points: the line of each name.
        marks: a point, x and y, on the line of some names; a point that is not a number is left out.
    """
    plot = Plot(f"{up} by {across}", Axis(across, 0, 1), Axis(up, 0, 1))
    for number, (name, (xs, ys)) in enumerate(points.items()):
        style = f"series series-{number % SERIES}"
        line = " ".join(f"{plot.x(x)},{plot.y(y)}" for x, y in zip(xs, ys, strict=True))
        plot.add("polyline", style, name, points=line)
    for number, name in enumerate(points):
        x, y = (marks or {}).get(name, (math.nan, math.nan))
        if math.isfinite(x) and math.isfinite(y):
            title = f"{name}: {across} {x:.3f}, {up} {y:.3f}"
            plot.add("circle", f"series-{number % SERIES}", title, cx=plot.x(x), cy=plot.y(y), r=4)
    return plot


def precision_recall(
    curves: Mapping[str, Sequence[float]], marks: Mapping[str, tuple[float, float]] | None = None
) -> Plot:
    """Precision by recall, see `lines`.

    Args:
        curves: the precisions at levels of recall that are evenly spread from 0 to 1.
        marks: a point, recall and precision, on the line of some names.
    """
    points = {name: (np.linspace(0, 1, len(values)).tolist(), values) for name, values in curves.items()}
    return lines("recall", "precision", points, marks)


def _range(low: float, high: float, integer: bool) -> str:
    if not integer:
        return f"{_short(low)} to {_short(high)}"
    first, last = math.ceil(low), math.floor(high)
    return str(first) if first == last else f"{first} to {last}"


def _short(value: float) -> str:
    """Write a number briefly: 1500000 is 1.5M, 20000 is 20k; four digits stay."""
    for least, unit, letter in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:g}{letter}"
    return f"{value:.4g}"
