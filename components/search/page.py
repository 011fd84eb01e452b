"""The leaderboard: what a search has tried and found, as one HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from components.search.space import Dimension, Space, size, text
from components.search.trial import Trial
from components.shared.report.html import bar, definitions, page, section, shown, table, tile
from components.shared.report.plots import climb

_SCORE = "macro F1 on val"


@dataclass(frozen=True)
class Subject:
    """What was searched, and how."""

    label_space: str
    method: str
    seed: int
    space: Space


def render(
    subject: Subject, trials: Sequence[Trial], best_first: Sequence[Trial], importances: Mapping[str, float]
) -> str:
    """The page as text; equal arguments give equal text.

    Args:
        subject: what was searched.
        trials: all trials in their order.
        best_first: those with a score, at least one.
        importances: share of each entry in what the scores differ by, or nothing.
    """
    title = f"Search for {subject.label_space}"
    keys = list(subject.space)
    best = best_first[0]
    where = f"{len(trials)} trials of {_combinations(subject.space)} · method {subject.method} · seed {subject.seed}"
    failed = [trial for trial in trials if trial.score is None]
    facts = [(key, _written(best.changes[key])) for key in keys]
    course = climb(
        [trial.score for trial in trials],
        [f"trial {trial.number}{' failed' if trial.score is None else ''}" for trial in trials],
        "trial",
        _SCORE,
    )
    left = section("Best configuration", definitions(facts)) + section("What was searched", _space(subject.space))
    parts = [
        f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(where)}</p>',
        '<p class="verdict">The score is macro F1 on the validation split, whose persons are in no other split. The '
        "best of many scores is a little too good: what counts is the report on the test split.</p>",
        _tiles(best_first, len(failed)),
        f'<div class="columns"><div>{left}</div>'
        + section("Score by trial", course + '<p class="soft">The dashed line is the best score so far.</p>')
        + "</div>",
        section("What mattered", _importances(importances, keys)),
        section("Trials", _table(best_first, keys)),
    ]
    if failed:
        parts.append(section("Failed trials", _failures(failed, keys)))
    return page(title, "\n".join(parts))


def _combinations(space: Space) -> str:
    number = size(space)
    return f"{number:,.0f} combinations" if number != float("inf") else "infinitely many combinations"


def _tiles(best_first: Sequence[Trial], failed: int) -> str:
    scores = [trial.score or 0.0 for trial in best_first]
    tiles = [
        tile("Best macro F1", f"{scores[0]:.4f}", f"trial {best_first[0].number}", "good"),
        tile("Median", f"{median(scores):.4f}"),
        tile("Worst", f"{scores[-1]:.4f}"),
        tile(
            "Trials",
            str(len(scores) + failed),
            f"{failed} failed" if failed else "none failed",
            "bad" if failed else "soft",
        ),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _space(space: Space) -> str:
    return definitions((key, _dimension(dimension)) for key, dimension in space.items())


def _dimension(dimension: Dimension) -> str:
    if dimension.choice is not None:
        return " | ".join(_written(value) for value in dimension.choice)
    low, high = (_written(end) for end in dimension.ends)
    kind = "whole numbers" if dimension.int else "all orders of magnitude" if dimension.loguniform else "evenly"
    return f"{low} to {high}, {kind}"


def _importances(importances: Mapping[str, float], keys: Sequence[str]) -> str:
    if not importances:
        return '<p class="soft">Too few trials, or too equal ones, to tell.</p>'
    rows = [(escape(key), f"{share:.0%}{bar(share)}") for key, share in importances.items()]
    return (
        '<p class="soft">The share of each entry in what the scores differ by; with few trials it is a guess.</p>'
        + table(("entry", "share"), rows)
    )


def _table(best_first: Sequence[Trial], keys: Sequence[str]) -> str:
    rows = [
        (
            str(trial.number),
            *_cells(trial, keys),
            *(_figure(trial, name) for name in ("val_loss", "val_accuracy")),
            f"{trial.score:.4f}{bar(trial.score or 0.0)}",
        )
        for trial in best_first
    ]
    return table(("trial", *map(escape, keys), "loss", "accuracy", "macro F1"), rows, text_columns=1 + len(keys))


def _figure(trial: Trial, name: str) -> str:
    return f"{trial.metrics[name]:.4f}" if name in trial.metrics else "–"


def _failures(failed: Sequence[Trial], keys: Sequence[str]) -> str:
    rows = [(str(trial.number), *_cells(trial, keys), escape(shown(trial.error, 300))) for trial in failed]
    return table(("trial", *map(escape, keys), "why"), rows, text_columns=2 + len(keys))


def _cells(trial: Trial, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(escape(shown(_written(trial.changes[key]))) for key in keys)


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else text(value).replace('"', "")
