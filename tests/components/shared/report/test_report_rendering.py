"""Reports from templates: everything is escaped, and a name that the context lacks is an error."""

from types import SimpleNamespace

import numpy as np
import pytest
from jinja2 import UndefinedError

from components.shared.report.plots import Axis, Plot, best_so_far, heat_map, histogram
from components.shared.report.rendering import _environment as environment
from components.shared.report.rendering import counted, percent, printable, render

HOSTILE = '<script>alert("1")</script>\'가'


def macro(name: str, *arguments: object, **options: object) -> str:
    return str(
        getattr(environment().get_template("shared/report/macros.html.jinja").module, name)(*arguments, **options)
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tile", (HOSTILE, HOSTILE, HOSTILE)),
        ("soft", (HOSTILE,)),
        ("definitions", ([(HOSTILE, HOSTILE)],)),
        ("row", ([HOSTILE, HOSTILE],)),
        ("photo", (SimpleNamespace(uri=HOSTILE, name=HOSTILE, caption=[HOSTILE]),)),
        ("photo", (SimpleNamespace(uri=None, name=HOSTILE, caption=[HOSTILE]),)),
        ("plot", (histogram(np.array([1.0, 2.0]), HOSTILE, HOSTILE),)),
        ("plot", (best_so_far([0.5, None], [HOSTILE, HOSTILE], HOSTILE, HOSTILE),)),
        ("cross_table", ([HOSTILE], [HOSTILE, "b"], np.array([[1, 0]]), HOSTILE, HOSTILE, HOSTILE)),
    ],
)
def test_macros_escape_their_arguments(name: str, arguments: tuple[object, ...]) -> None:
    html = macro(name, *arguments)
    assert "<script" not in html and "&lt;script&gt;alert(&#34;1&#34;)" in html and "가" in html
    assert "'가" not in html, "quotes are escaped too"


def test_missing_names_are_errors() -> None:
    with pytest.raises(UndefinedError, match="label_space"):
        render("search/leaderboard.html.jinja")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 가", "plain 가"),
        ("a\x00\u202e\r\n", "a\\x00\\u202e\\r\\n"),
        ("x" * 80, "x" * 80),
        ("a" * 50 + "b" * 50, "a" * 39 + "…" + "b" * 39),
        (None, "None"),
    ],
)
def test_control_characters_and_long_texts(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_numbers_as_text() -> None:
    assert (percent(1, 3), percent(1, 0)) == ("33.3%", "–")
    assert counted(1, "image") == "1 image" and counted(1200, "image") == "1,200 images"
    assert counted(2, "person is", "persons are") == "2 persons are"


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis("", 0, 3, integer=True), [0, 1, 2, 3]),
        (Axis("", 10, 1000, log=True), [10, 20, 50, 100, 200, 500, 1000]),
        (Axis("", 30, 31, log=True), [30, 30.2, 30.4, 30.6, 30.8, 31]),
    ],
)
def test_ticks_are_at_most_seven_round_numbers(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)


def test_coordinates_span_the_plot_from_the_bottom_or_the_top() -> None:
    axes = Axis("x", 0, 10), Axis("y", 0, 10)
    plot, upside_down = Plot("", *axes), Plot("", *axes, from_top=True)
    assert (plot.x(0), plot.x(10), plot.y(0), plot.y(10)) == (plot.LEFT, plot.RIGHT, plot.BOTTOM, plot.TOP)
    assert (upside_down.y(0), upside_down.y(10)) == (plot.TOP, plot.BOTTOM)


def test_marks_hold_every_value_of_a_histogram_and_a_heat_map() -> None:
    values = np.random.default_rng(0).integers(0, 50, 1000)
    counts = [int(mark.title.split(": ")[1].split()[0]) for mark in histogram(values, "v", "faces", integer=True).marks]
    assert sum(counts) == 1000
    points = np.random.default_rng(0).random((500, 2))
    cells = heat_map(points, Axis("x", 0, 1), Axis("y", 0, 1), "boxes").marks
    assert sum(int(mark.title.split()[0]) for mark in cells) == 500
    assert max(float(mark.attributes["fill-opacity"]) for mark in cells) == 1.0
