"""The end of a search: rank the trials, report on them, name the best one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isinf
from pathlib import Path
from statistics import median
from typing import Any

from components.search.space import Dimension, Space, check_changes, read_space, size, text
from components.search.study import importances
from components.shared.dataset import label_spaces
from components.shared.report.plots import best_so_far
from components.shared.report.rendering import counted, render
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run
from components.shared.trial import Outcome
from serving.runtime.errors import InputError
from serving.runtime.output import write_text


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The result of a search.

    Attributes:
        best_score: the highest macro F1.
        trials: the trials with a score, best first.
        failed: the other trials.
        importances: share of the scores' variance by searched entry.
        run_id: the MLflow run that is the parent of the trials' runs; "" without tracking.
    """

    best_score: float
    trials: tuple[Outcome, ...]
    failed: tuple[Outcome, ...]
    importances: dict[str, float]
    run_id: str = ""


def leaderboard(
    space: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    report: Path,
    *,
    label_space: str,
    method: str,
    seed: int,
) -> Leaderboard:
    """Rank the trials of a search by macro F1 on the validation split, and write an HTML page.

    An MLflow run is opened in the experiment of the trials' runs and becomes their parent; it gets the page, the best
    configuration and its score.

    Args:
        space: what was searched, see `space`.
        outcomes: of all trials, by number.
        report: the page.
        label_space: the label space of the trainings, for the page.
        method: how the trials were chosen, for the page.
        seed: seed of the search, for the page.

    Raises:
        InputError: all trials have failed, or one is of another space.
    """
    best_first = sorted((trial for trial in outcomes if trial.score is not None), key=_rank)
    failed = [trial for trial in outcomes if trial.score is None]
    if not best_first:
        reason = f", the first one with: {failed[0].error}" if failed else ""
        raise InputError(f"all {len(failed)} trials have failed{reason}")
    dimensions, label_space = read_space(space), label_spaces.label_space(label_space).name
    check_changes(dimensions, outcomes)
    shares = importances(dimensions, outcomes)
    board = Leaderboard(best_first[0].score or 0.0, tuple(best_first), tuple(failed), shares)
    page = _page(board, outcomes, dimensions, label_space=label_space, method=method, seed=seed)
    write_text(report, page)
    params = {
        "method": method,
        "seed": seed,
        "space": {key: dimension.model_dump(exclude_none=True) for key, dimension in dimensions.items()},
        "best": {"trial": best_first[0].number, **best_first[0].changes},
    }
    experiment = f"{DEFAULT_EXPERIMENT}-{label_space}"
    with open_run(experiment, run_name=f"search {method}", params=params, tolerant=True) as run:
        run.adopt(trial.run_id for trial in best_first)
        run.metrics({"Val/f1": board.best_score, "trials": len(best_first), "failed_trials": len(failed)})
        run.text(page, "leaderboard.html")
        return replace(board, run_id=run.run_id)


def _rank(trial: Outcome) -> tuple[float, float, int]:
    """Sorts the highest score first; the lower loss and then the lower number break ties."""
    return -(trial.score or 0.0), trial.metrics.get("val_loss", 0.0), trial.number


def _page(board: Leaderboard, outcomes: Sequence[Outcome], space: Space, **settings: object) -> str:
    """The HTML page; equal arguments give equal text."""
    names = [f"trial {trial.number}{' failed' if trial.score is None else ''}" for trial in outcomes]
    number = size(space)
    return render(
        "search/leaderboard.html.jinja",
        **settings,
        combinations="infinitely many combinations" if isinf(number) else counted(int(number), "combination"),
        parameters={key: _values(dimension) for key, dimension in space.items()},
        best_first=board.trials,
        failed=board.failed,
        median=median(trial.score or 0.0 for trial in board.trials),
        scores=best_so_far([trial.score for trial in outcomes], names, "trial", "macro F1 on val"),
        importances=board.importances,
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
