"""The end of a search: the ranking and the page."""

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kfp import dsl

from components.search.component import leaderboard as door
from components.search.leaderboard import Leaderboard, leaderboard
from components.shared.trial import read_outcomes
from serving.runtime.errors import InputError

SPACE: dict[str, Any] = {
    "learning_rate": {"loguniform": [0.0001, 0.1]},
    "objective.loss": ["cross_entropy", {"name": "focal", "arguments": {"gamma": 2}}],
    "batch_size": [16, 32],
}
FOCAL = {"name": "focal", "arguments": {"gamma": 2.0}}


def outcome(number: int, score: float | None, loss: float = 1.0, **changes: Any) -> dict[str, Any]:
    changes = {"learning_rate": 0.001 * (number + 1), "objective.loss": "cross_entropy", "batch_size": 16.0} | changes
    trial = {"number": float(number), "changes": changes, "run_id": ""}
    if score is None:
        return trial | {"error": "the loss is nan at <step 3>"}
    return trial | {"score": score, "metrics": {"val_f1": score, "val_loss": loss, "val_accuracy": score / 2}}


OUTCOMES = [
    outcome(0, 0.61),
    outcome(1, None, batch_size=32.0),
    outcome(2, 0.92, loss=0.5),
    outcome(4, 0.92, loss=0.4, **{"objective.loss": FOCAL}),
    outcome(3, 0.75),
    {},
    outcome(5, 0.92, loss=0.4),
]


class Text(HTMLParser):
    """What a page says, table row by table row, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text: list[str] = []
        self.foreign: list[str] = []
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe") or any(name in ("src", "href") for name, _ in attrs):
            self.foreign.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data.strip()


def rank(folder: Path, outcomes: list[dict[str, Any]] = OUTCOMES, space: Any = None) -> tuple[Leaderboard, str]:
    page = folder / "board"
    found = leaderboard(space or SPACE, read_outcomes(outcomes), page, label_space="mask", method="tpe", seed=3)
    return found, page.read_text()


def test_the_best_score_wins_then_the_lower_loss_then_the_earlier_trial(tmp_path: Path) -> None:
    found, _ = rank(tmp_path)
    assert [trial.number for trial in found.trials] == [4, 5, 2, 3, 0]
    assert [trial.number for trial in found.failed] == [1]
    assert (found.best_score, found.run_id) == (0.92, "")
    assert found.trials[0].changes == {
        "learning_rate": 0.005,
        "objective.loss": {"name": "focal", "arguments": {"gamma": 2}},
        "batch_size": 16,
    }


def test_the_page_shows_every_trial_and_needs_nothing_else(tmp_path: Path) -> None:
    _, page = rank(tmp_path)
    text = Text(page)
    assert text.foreign == []
    said = " ".join(" ".join(text.text).split())
    assert "Search for mask" in said and "6 trials of infinitely many combinations · method tpe · seed 3" in said
    header = ["trial", "batch_size", "learning_rate", "objective.loss", "loss", "accuracy", "macro F1"]
    start = text.rows.index(header) + 1
    focal = "{arguments: {gamma: 2}, name: focal}"
    assert text.rows[start : start + 5] == [
        ["4", "16", "0.005", focal, "0.4000", "0.4600", "0.9200"],
        ["5", "16", "0.006", "cross_entropy", "0.4000", "0.4600", "0.9200"],
        ["2", "16", "0.003", "cross_entropy", "0.5000", "0.4600", "0.9200"],
        ["3", "16", "0.004", "cross_entropy", "1.0000", "0.3750", "0.7500"],
        ["0", "16", "0.001", "cross_entropy", "1.0000", "0.3050", "0.6100"],
    ]
    failed = text.rows.index(["trial", "batch_size", "learning_rate", "objective.loss", "error"])
    assert text.rows[failed + 1] == ["1", "32", "0.002", "cross_entropy", "the loss is nan at <step 3>"]
    assert "0.0001 to 0.1, log-uniform" in said and f"cross_entropy | {focal}" in said


def test_the_chart_has_every_trial_in_order_and_the_best_so_far(tmp_path: Path) -> None:
    _, page = rank(tmp_path)
    dots = re.findall(r'<circle class="bin" cx="([\d.]+)" cy="([\d.]+)" r="3.5"><title>trial (\d): ([\d.]+)<', page)
    assert [(number, float(score)) for _, _, number, score in dots] == [
        ("0", 0.61), ("2", 0.92), ("3", 0.75), ("4", 0.92), ("5", 0.92)
    ]  # fmt: skip
    assert [float(dot[0]) for dot in dots] == sorted(float(dot[0]) for dot in dots)
    heights = [float(dot[1]) for dot in dots]
    assert heights[1] == heights[3] < heights[2] < heights[0], "higher scores are higher up"
    assert page.count("<title>trial 1 failed</title>") == 1
    (line,) = re.findall(r'<polyline class="ideal" fill="none" points="([^"]+)"', page)
    corners = [tuple(map(float, corner.split(","))) for corner in line.split()]
    assert [y for _, y in corners] == [heights[0], heights[0], heights[1], heights[1]]


def test_importances_follow_from_the_scores(tmp_path: Path) -> None:
    """The scores depend on the learning rate alone, and a little on the batch size."""
    outcomes = [
        outcome(at, 0.5 + at % 4 / 10 + at % 2 / 100, learning_rate=0.1 ** (1 + at % 4), batch_size=16 << (at // 4 % 2))
        for at in range(16)
    ]
    found, page = rank(tmp_path, outcomes)
    shares = found.importances
    assert next(iter(shares)) == "learning_rate" and shares["learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    assert "With few trials it is a rough estimate" in page
    assert rank(tmp_path, outcomes)[1] == page, "the same trials give the same page"


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.6, 0.7], [0.5] * 6])
def test_too_few_or_equal_scores_give_no_importances(tmp_path: Path, scores: list[float]) -> None:
    found, page = rank(tmp_path, [outcome(at, score) for at, score in enumerate(scores)])
    assert found.importances == {}
    assert "Unknown: there are too few trials, or all scores are equal." in page


def test_a_search_without_a_single_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all 2 trials have failed, the first one with: the loss is nan"):
        rank(tmp_path, [outcome(0, None), outcome(1, None), {}])
    assert list(tmp_path.iterdir()) == []


def test_the_component_returns_the_best_trial(tmp_path: Path) -> None:
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    result: Any = door.python_func(
        report=SimpleNamespace(path=str(tmp_path / "report")),
        metrics=metrics,
        space=SPACE,
        method="tpe",
        seed=0,
        label_space="mask",
        past=OUTCOMES[:3],
        outcomes=OUTCOMES[3:],
    )
    best, run_id = result
    assert (best["number"], best["changes"]["batch_size"], run_id) == (4, 16, "")
    assert metrics.metadata == {"best_val_f1": 0.92, "trials": 6.0, "failed_trials": 1.0}


def test_hostile_names_are_text_on_the_page(tmp_path: Path) -> None:
    hostile = '<script>alert("1")</script>\'가'
    outcomes = [outcome(0, 0.5, **{hostile: hostile}), outcome(1, None, **{hostile: "b"}) | {"error": hostile}]
    _, page = rank(tmp_path, outcomes, SPACE | {hostile: [hostile, "b"]})
    assert "<script" not in page and page.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&#39;가") >= 5
