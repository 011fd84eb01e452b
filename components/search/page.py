"""The leaderboard page of a search, rendered from leaderboard.html.jinja."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from statistics import median

from components.search.space import Dimension, Space, size, text
from components.shared.report.plots import best_so_far
from components.shared.report.rendering import counted, render
from components.shared.trial import Outcome


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search: what the trainings predict, the method and seed that chose trials, and the space."""

    label_space: str
    method: str
    seed: int
    space: Space


def render_leaderboard(
    settings: SearchSettings, trials: Sequence[Outcome], best_first: Sequence[Outcome], importances: Mapping[str, float]
) -> str:
    """Return the HTML page; equal arguments give equal text.

    Args:
        settings: of the search.
        trials: all trials in their order.
        best_first: those with a score, at least one.
        importances: share of the scores' variance that each parameter explains; may be empty.
    """
    names = [f"trial {trial.number}{' failed' if trial.score is None else ''}" for trial in trials]
    number = size(settings.space)
    return render(
        "search/leaderboard.html.jinja",
        settings=settings,
        combinations="infinitely many combinations" if isinf(number) else counted(int(number), "combination"),
        parameters={key: _values(dimension) for key, dimension in settings.space.items()},
        best_first=best_first,
        failed=[trial for trial in trials if trial.score is None],
        median=median(trial.score or 0.0 for trial in best_first),
        scores=best_so_far([trial.score for trial in trials], names, "trial", "macro F1 on val"),
        importances=importances,
        written=_written,
    )


def _values(dimension: Dimension) -> str:
    if dimension.choice is not None:
        return " | ".join(_written(value) for value in dimension.choice)
    low, high = (_written(end) for end in dimension.ends)
    distribution = "integers" if dimension.int else "log-uniform" if dimension.loguniform else "uniform"
    return f"{low} to {high}, {distribution}"


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else text(value).replace('"', "")
