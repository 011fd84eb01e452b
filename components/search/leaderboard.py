"""The end of a search: rank the trials, report on them, name the best one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.search.page import SearchSettings, render_leaderboard
from components.search.space import read_space
from components.search.study import importances
from components.shared.dataset import label_spaces
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
        InputError: all trials have failed.
    """
    best_first = _ranked(outcomes)
    failed = [outcome for outcome in outcomes if outcome.score is None]
    if not best_first or best_first[0].score is None:
        reason = f", the first one with: {failed[0].error}" if failed else ""
        raise InputError(f"all {len(failed)} trials have failed{reason}")
    dimensions = read_space(space)
    result = Leaderboard(best_first[0].score, tuple(best_first), tuple(failed), importances(dimensions, outcomes))
    settings = SearchSettings(label_spaces.label_space(label_space).name, method, seed, dimensions)
    text = render_leaderboard(settings, outcomes, result.trials, result.importances)
    write_text(report, text)
    return replace(result, run_id=_log(settings, result, text))


def _ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the trials with a score, best first; the lower loss and then the lower number break ties."""
    scored = [outcome for outcome in outcomes if outcome.score is not None]
    return sorted(scored, key=lambda one: (-(one.score or 0.0), one.metrics.get("val_loss", 0.0), one.number))


def _log(settings: SearchSettings, result: Leaderboard, text: str) -> str:
    """Log the search to MLflow and return the id of its run."""
    experiment = f"{DEFAULT_EXPERIMENT}-{settings.label_space}"
    best = result.trials[0]
    params = {
        "method": settings.method,
        "seed": settings.seed,
        "space": {key: dimension.model_dump(exclude_none=True) for key, dimension in settings.space.items()},
        "best": {"trial": best.number, **best.changes},
    }
    with open_run(experiment, run_name=f"search {settings.method}", params=params, tolerant=True) as run:
        run.adopt(trial.run_id for trial in result.trials)
        run.metrics({"Val/f1": result.best_score, "trials": len(result.trials), "failed_trials": len(result.failed)})
        run.text(text, "leaderboard.html")
        return run.run_id
